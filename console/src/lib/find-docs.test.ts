import { expect, test } from 'vitest';
import { find, type Index } from './find-docs.js';

const index: Index = {
  pages: [['how-to/set-a-budget', 'Set a budget'], ['operator', 'Operating Tidegate'], ['keys', 'Rotate a key']],
  sections: [
    [0, '', 'Set a budget', 'Stop a project.'],
    [0, 'next', 'Next', ''],
    [1, '', '', 'Run it.'],
    [1, 'budgets', 'Budgets and limits', 'Each budget…'],
    [1, 'the-master-key', 'The master key', ''],
    [2, '', '', 'The master.'],
  ],
  words: { budget: [3, 1], budgets: [2], limit: [1], master: [5], stop: [0], x2: [1, 1, 1] },
};
const hrefs = (text: string): string[] => find(index, text).map((found) => found.href);

test('titles come before headings, and headings before texts', () => {
  expect(hrefs('budget')).toEqual(['/docs/how-to/set-a-budget', '/docs/operator#budgets', '/docs/operator#the-master-key', '/docs/operator']);
  expect(hrefs('master key')).toEqual(['/docs/operator#the-master-key', '/docs/keys']);
});

test('every word has to be there, as the beginning of one', () => {
  expect(hrefs('OPER limi')).toEqual(['/docs/operator#budgets']);
  expect(hrefs('budget nowhere')).toEqual([]);
  expect(hrefs('udget')).toEqual([]);
  expect(hrefs(' , ')).toEqual([]);
});

test('a section may leave words to the title of its page, but not all', () => {
  expect(hrefs('budget limit')).toEqual(['/docs/operator#budgets', '/docs/how-to/set-a-budget#next']);
  expect(hrefs('tidegate')).toEqual(['/docs/operator']);
});

test('a section is shown with its page, and a page alone', () => {
  expect(find(index, 'limits')).toEqual([{ href: '/docs/operator#budgets', title: 'Budgets and limits', page: 'Operating Tidegate', line: 'Each budget…' }]);
  expect(find(index, 'stop')).toEqual([{ href: '/docs/how-to/set-a-budget', title: 'Set a budget', page: '', line: 'Stop a project.' }]);
});

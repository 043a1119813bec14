import { expect, test } from 'vitest';
import { differences, lineOf, readDocument } from './flow-text';

const TEXT = '{\n  "name": "f",\n  "steps": {\n    "a/b": {\n      "kind": "merge",\n      "needs": [\n        "c",\n        "d"\n      ]\n    }\n  }\n}\n';

test('each place of a document has its line', () => {
  const { value, lines, problem } = readDocument(TEXT);
  expect(problem).toBeUndefined();
  expect(value).toEqual(JSON.parse(TEXT));
  expect([lineOf(lines, ''), lineOf(lines, '/name'), lineOf(lines, '/steps/a~1b'), lineOf(lines, '/steps/a~1b/needs/1')]).toEqual([1, 2, 4, 8]);
  expect(lineOf(lines, '/steps/a~1b/when')).toBe(4);
});

test.each([
  ['{"a": 1,\n "b" 2}', 2, 'Expected a colon.'],
  ['{"a": 1\n\n "b": 2}', 3, 'Expected a comma or a closing brace.'],
  ['[1,\n]', 2, 'Expected a value.'],
  ['{"a": "b\n}', 1, 'This string isn’t closed on its line.'],
  ['{a: 1}', 1, 'Expected a property name in double quotes.'],
  ['{}\n{}', 2, 'Unexpected text after the end of the document.'],
  ['"\\x"', 1, 'This string has an invalid escape or a control character.'],
  ['', 1, 'Expected a value.'],
  ['['.repeat(300), 1, 'Values can be nested at most 200 levels deep.'],
])('%j is wrong on line %i', (text, line, message) => {
  expect(readDocument(text).problem).toEqual({ line, message });
});

test('documents differ place by place', () => {
  const before = { name: 'f', steps: { a: { needs: ['x'] } }, output: 1 };
  expect(differences(before, before)).toEqual([]);
  expect(differences(before, { name: 'f', steps: { a: { needs: ['y', 'z'] }, b: {} } })).toEqual([
    { path: '/steps/a/needs/0', before: 'x', after: 'y' },
    { path: '/steps/a/needs/1', before: undefined, after: 'z' },
    { path: '/steps/b', before: undefined, after: {} },
    { path: '/output', before: 1, after: undefined },
  ]);
});

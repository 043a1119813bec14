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
  ['{"a": 1,\n "b" 2}', 2, 'A colon is expected here.'],
  ['{"a": 1\n\n "b": 2}', 3, 'A comma or a closing brace is expected here.'],
  ['[1,\n]', 2, 'A value is expected here.'],
  ['{"a": "b\n}', 1, 'A text ends with a quotation mark on its line.'],
  ['{a: 1}', 1, 'A name in quotation marks is expected here.'],
  ['{}\n{}', 2, 'Nothing may follow the document.'],
  ['"\\x"', 1, 'This text has an escape that JSON does not know, or a control character.'],
  ['', 1, 'A value is expected here.'],
  ['['.repeat(300), 1, 'Values are at most 200 deep.'],
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

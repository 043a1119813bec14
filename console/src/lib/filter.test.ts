import { expect, test } from 'vitest';
import { completions, filterQuery, readFilter, withTerm, withoutTerm, writeFilter } from './filter';

test('a filter reads and writes the same', () => {
  const text = 'model:openai/gpt-4o key:"my laptop" status:429';
  const { terms, problem } = readFilter(text);
  expect(problem).toBeUndefined();
  expect(terms).toEqual([
    { field: 'model', value: 'openai/gpt-4o' },
    { field: 'key', value: 'my laptop' },
    { field: 'status', value: '429' },
  ]);
  expect(writeFilter(terms)).toBe(text);
});

test('what can not be read is said, not ignored', () => {
  for (const text of ['gpt', 'cost:>5', 'model:a model:b', 'model:', 'status:>=500', 'model:claude-*', ':x']) {
    expect(readFilter(text).problem, text).toBeTruthy();
  }
});

test('terms are replaced and taken away', () => {
  expect(withTerm('model:a tag:b', 'model', 'c')).toBe('tag:b model:c');
  expect(withoutTerm('model:a tag:b', 'tag')).toBe('model:a');
});

test('names become ids where the server wants ids', () => {
  const terms = readFilter('key:ci model:echo').terms;
  expect(filterQuery(terms, (_, name) => (name === 'ci' ? 'key_1' : name))).toEqual({ key_id: 'key_1', model: 'echo' });
});

test('a half-typed filter is completed', () => {
  const known = () => ['my laptop', 'ci'];
  expect(completions('mo', known)).toEqual(['model:']);
  expect(completions('profile:byo', known)).toEqual(['profile:byok ', 'profile:byoc ']);
  expect(completions('model:a key:lap', known)).toEqual(['model:a key:"my laptop" ']);
  expect(completions('model:a mo', known)).toEqual([]);
});

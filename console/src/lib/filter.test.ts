import { expect, test } from 'vitest';
import { completions, counted, failed, ofSums, readFilter, term, unattempted, withoutTerm, withTerm } from './filter';

test('a filter is taken apart and put together the same', () => {
  const text = 'model:openai/gpt-4o* -key:"my \\"new\\" laptop" status>=400 cost:>0.01 tag:"a*"*';
  const { terms, problem } = readFilter(text);
  expect(problem).toBeUndefined();
  expect(terms.map(({ field, value }) => [field, value])).toEqual([
    ['model', 'openai/gpt-4o*'],
    ['key', 'not my "new" laptop'],
    ['status', '>=400'],
    ['cost', '>0.01'],
    ['tag', 'a**'],
  ]);
  expect(terms.map((one) => one.text).join(' ')).toBe(text);
});

test('what can not be taken apart is said, not ignored', () => {
  for (const text of ['gpt', 'cots:>5', 'model:', ':x', '-', 'model:a gpt']) expect(readFilter(text).problem, text).toBeTruthy();
});

test('a value is written so that it is read as it is', () => {
  expect(term('model', 'openai/gpt-4o')).toBe('model:openai/gpt-4o');
  for (const value of ['', 'a b', 'a*', '>5', 'say "hi"', 'back\\slash', '<img src=x onerror=alert(1)>']) {
    const [read] = readFilter(term('tag', value)).terms;
    expect(read?.value ?? '', value).toBe(value);
  }
});

test('terms are replaced and taken away', () => {
  expect(withTerm('model:a -tag:b', 'model', 'c')).toBe('-tag:b model:c');
  expect(withoutTerm('model:a tag:b cost>1', 1)).toBe('model:a cost>1');
  expect(ofSums('model:a cost>1 -status:ok latency:>2s')).toBe('model:a -status:ok');
});

test('a sum leads to the rows that it counts', () => {
  expect(counted('model:a', { requests: 3, unattempted_requests: 0 })).toBe('model:a');
  expect(counted('', { requests: 3, unattempted_requests: 1 })).toBe('attempts:>0');
  expect(failed('key:ci')).toBe('key:ci attempts:>0 -outcome:completed');
  expect([unattempted('key:ci'), unattempted('')]).toEqual(['key:ci attempts:0', 'attempts:0']);
});

test('a half-typed filter is completed', () => {
  const known = () => ['my laptop', 'ci'];
  expect(completions('mod', known)).toEqual(['model:', 'mode:']);
  expect(completions('-mode', known)).toEqual(['-model:', '-mode:']);
  expect(completions('profile:byo', known)).toEqual(['profile:byok ', 'profile:byoc ']);
  expect(completions('model:a key:lap', known)).toEqual(['model:a key:"my laptop" ']);
  expect(completions('model:a model', known)).toEqual([]);
  expect(completions('cost:', known)).toEqual(['cost:>0.01 ']);
});

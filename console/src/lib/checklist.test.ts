import { expect, test } from 'vitest';
import { steps, type Known } from './checklist';

const NOTHING: Known = { models: 0, used: [], keys: [], budgets: 0, members: 1 };
const done = (known: Partial<Known>) => steps({ ...NOTHING, ...known }).filter((step) => step.isDone).map((step) => step.id);
const used = (key: string | null, requests: number, refused = 0) => ({ key, requests, unattempted_requests: refused });

test('each step is done by what is there', () => {
  expect(done({})).toEqual([]);
  expect(done({ models: 1 })).toEqual(['model']);
  expect(done({ budgets: 1, members: 2 })).toEqual(['budget', 'people']);
});

test('a tool is connected once a key beside the playground’s was used', () => {
  const keys = [{ id: 'key_1', name: 'ci' }, { id: 'key_2', name: 'playground' }];
  expect(done({ keys })).toEqual([]);
  expect(done({ keys, used: [used('key_2', 3)] })).toEqual(['request']);
  expect(done({ keys, used: [used('key_1', 0, 1)] })).toEqual(['tool', 'request']);
  expect(done({ keys, used: [used(null, 1), used('key_1', 0)] })).toEqual(['request']);
});

test('what can’t be read is no step', () => {
  expect(steps({ models: undefined, used: undefined, keys: undefined, budgets: undefined, members: undefined })).toEqual([]);
  expect(steps({ ...NOTHING, keys: undefined, budgets: undefined }).map((step) => step.id)).toEqual(['model', 'request', 'people']);
});

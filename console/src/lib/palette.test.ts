import { expect, test } from 'vitest';
import { has } from './palette';

test('words are found by their beginnings, in any order', () => {
  const name = 'Set a budget for checkout-bot';
  expect(['', 'budget', 'check budg', 'set a budget for c', 'bot set', 'eckout'].map((wanted) => has(name, wanted))).toEqual([true, true, true, true, true, true]);
  expect(['budget ci', 'udget heck', 'revoke'].map((wanted) => has(name, wanted))).toEqual([false, false, false]);
});

import { expect, test } from 'vitest';
import { nextOrder, readOrder, sorted } from './sorting';

test('an order is in the address as its column, with a minus for the last first', () => {
  expect(['name', '-cost', '', '-', null].map(readOrder)).toEqual([{ name: 'name', isDown: false }, { name: 'cost', isDown: true }, undefined, undefined, undefined]);
});

test('a heading goes through both orders and back to none; numbers begin with the largest', () => {
  const through = (isNumber: boolean) => {
    const found: (string | undefined)[] = [];
    let order: string | undefined;
    for (let at = 0; at < 3; at += 1) found.push((order = nextOrder('a', isNumber, readOrder(order ?? null))));
    return found;
  };
  expect(through(false)).toEqual(['a', '-a', undefined]);
  expect(through(true)).toEqual(['-a', 'a', undefined]);
  expect(nextOrder('a', false, readOrder('-b'))).toBe('a');
});

test('what has no value comes last, whichever way; names are ordered as people do', () => {
  const rows = ['key 10', undefined, 'Key 2', 'alpha', ''].map((name) => ({ name }));
  const names = (isDown: boolean) => sorted(rows, (row) => row.name, isDown).map((row) => row.name);
  expect(names(false)).toEqual(['alpha', 'Key 2', 'key 10', undefined, '']);
  expect(names(true)).toEqual(['key 10', 'Key 2', 'alpha', undefined, '']);
  expect(sorted([2, 10, null, 1], (row) => row, true)).toEqual([10, 2, 1, null]);
});

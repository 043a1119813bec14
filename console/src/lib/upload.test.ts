import { expect, test } from 'vitest';
import { arrived, partOf } from './upload.svelte';

test('a file goes whole where it fits in a part, else in ranges', () => {
  const mib = 1024 * 1024;
  expect(partOf(0, 0)).toEqual({ range: undefined, to: 0 });
  expect(partOf(0, 8 * mib)).toEqual({ range: undefined, to: 8 * mib });
  expect(partOf(0, 9 * mib)).toEqual({ range: `bytes 0-${8 * mib - 1}/${9 * mib}`, to: 8 * mib });
  expect(partOf(8 * mib, 9 * mib)).toEqual({ range: `bytes ${8 * mib}-${9 * mib - 1}/${9 * mib}`, to: 9 * mib });
});

test('what has arrived is read from the range', () => {
  expect([null, 'bytes=0-0', 'bytes=0-4095', 'nonsense'].map(arrived)).toEqual([0, 1, 4096, 0]);
});

import { expect, test } from 'vitest';
import { readSearch } from './audit';

const search = (text: string) => readSearch(new URLSearchParams(text));

test('an address without a search searches nothing', () => {
  expect(search('range=7d')).toEqual({});
  expect(search('find=++&actor=&start=soon&end=2026-11')).toEqual({});
});

test('each part of a search is what the server calls it', () => {
  expect(search('find=+zebra+&actor=key_1&action=credential&target=pcr_1')).toEqual({ q: 'zebra', actor: 'key_1', action: 'credential', target: 'pcr_1' });
});

test('days begin at midnight here, and the last one is whole', () => {
  const { start, end } = search('start=2026-11-30&end=2026-11-30');
  expect(start).toBe(new Date(2026, 10, 30).toISOString());
  expect(end).toBe(new Date(2026, 11, 1).toISOString());
});

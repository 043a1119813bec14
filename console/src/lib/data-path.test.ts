import { expect, test } from 'vitest';
import { keyWords, placeWords, purposeWords, retentionWords, seenWords } from './data-path';
import type { DataPathRetention } from './wire';

const told = (retention: Partial<DataPathRetention>): string => retentionWords({ until: null, days: null, basis: 'unknown', source: null, ...retention }, (at) => at.slice(0, 10));

test('a retention says who says so, and what nobody says is unknown', () => {
  expect(told({})).toBe('unknown');
  expect(told({ basis: 'agreed', days: 0, until: '2026-11-25T00:00:00Z' })).toBe('nothing, as agreed');
  expect(told({ basis: 'agreed', days: 1 })).toBe('1 day, as agreed');
  expect(told({ basis: 'published', days: 30 })).toBe('30 days, as published');
  expect(told({ basis: 'published', until: '2026-11-25T00:00:00Z' })).toBe('until 2026-11-25, as published');
  expect(told({ basis: 'ours', until: '2026-11-25T00:00:00Z' })).toBe('until 2026-11-25');
  expect(told({ basis: 'ours', days: 90 })).toBe('90 days');
  expect(told({ basis: 'ours' })).toBe('until it is deleted or purged');
});

test('what is not stated is said', () => {
  expect([seenWords(null), seenWords('content'), placeWords(null), placeWords('eu')]).toEqual(['unknown', 'content', 'not stated', 'eu']);
  expect([purposeWords('hook_before'), purposeWords('cached_content')]).toEqual(['decided about the request', 'stores a cached content']);
  const nameOf = (id: string) => (id === 'pcr_1' ? 'ours' : undefined);
  expect([null, 'managed', 'pcr_1', 'pcr_2'].map((key) => keyWords(key, nameOf))).toEqual(['no key', 'the operator’s account', 'ours', 'pcr_2']);
});

import { expect, test } from 'vitest';
import { cachingWords, keepAliveState, searchWords, semanticPatch } from './caching';

test('what was done for a cache is a sentence', () => {
  const one = { state: 'applied', breakpoints: 2, key: false, context_cache: false, saved_tokens: 1800, evidence: 'provider_reported' } as const;
  expect(cachingWords(one)).toBe('Applied: 2 breakpoints. 1,800 tokens were read from the cache, according to the provider.');
  expect(cachingWords({ ...one, saved_tokens: null, evidence: 'unknown' })).toContain('didn’t report');
  expect(cachingWords({ ...one, refreshes: 0 })).not.toContain('kept alive');
  expect(cachingWords({ ...one, refreshes: 1 })).toContain('provider. The cache was kept alive by a refresh before.');
  expect(cachingWords({ ...one, refreshes: 3 })).toContain('by 3 refreshes before.');
  expect(cachingWords({ ...one, breakpoints: 0, context_cache: true })).toContain('Applied: a context cache. 1,800 tokens');
  const suggested = { state: 'suggested', breakpoints: 1, key: true, context_cache: false, saved_tokens: 2000, evidence: 'router_inferred' } as const;
  expect(cachingWords(suggested)).toBe('Suggested: with 1 breakpoint and a cache key, about 2,000 tokens could come from the cache.');
  expect(cachingWords({ ...suggested, key: false, saved_tokens: 0 })).toContain('the next request could read');
});

test('a search by meaning is told with how alike the nearest text is', () => {
  const search = { outcome: 'guarded', similarity_bps: 9731, embedding_request_id: 'trc_1' };
  expect(searchWords(search)).toBe('The similar request differs in a number, a negation or a literal (97.31% at most).');
  expect(searchWords({ ...search, outcome: 'embedding_late', similarity_bps: null })).toBe('The embedding took too long.');
  expect(searchWords({ ...search, outcome: 'new_word', similarity_bps: null })).toBe('new_word.');
});

test('a bound is read in per cent and an empty one is left to the wider setting', () => {
  expect(semanticPatch(' a/b ', '97.5')).toEqual({ model: 'a/b', min_similarity_bps: 9750 });
  expect(semanticPatch('', '')).toEqual({ model: null, min_similarity_bps: null });
  expect(semanticPatch('a/b', '95,25')).toEqual({ model: 'a/b', min_similarity_bps: 9525 });
});

test('a state that nobody set is left to the wider setting', () => {
  expect([undefined, true, false].map(keepAliveState)).toEqual(['', 'on', 'off']);
});

import { expect, test } from 'vitest';
import { cachingWords } from './caching';

test('what was done for a cache is a sentence', () => {
  const one = { state: 'applied', breakpoints: 2, key: false, context_cache: false, saved_tokens: 1800, evidence: 'provider_reported' } as const;
  expect(cachingWords(one)).toBe('Applied: 2 breakpoints. 1,800 tokens came from the cache, as the provider counts.');
  expect(cachingWords({ ...one, saved_tokens: null, evidence: 'unknown' })).toContain('did not say');
  expect(cachingWords({ ...one, breakpoints: 0, context_cache: true })).toContain('Applied: a context cache. 1,800 tokens');
  const suggested = { state: 'suggested', breakpoints: 1, key: true, context_cache: false, saved_tokens: 2000, evidence: 'router_inferred' } as const;
  expect(cachingWords(suggested)).toBe('Suggested: with 1 breakpoint and a cache key, some 2,000 tokens could come from the cache.');
  expect(cachingWords({ ...suggested, key: false, saved_tokens: 0 })).toContain('the next request could read');
});

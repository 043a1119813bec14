// Prompt caches of providers: what the gateway may do for them, and what it did.

import { count } from './format';
import type { CachingOfRequest } from './wire';

/** Whose prompt cache. */
export type Cached = 'managed' | 'byok';

export const CACHE_MODES = [
  ['apply', 'Apply'],
  ['suggest', 'Suggest'],
  ['off', 'Off'],
] as const;

/** What holds where nobody says otherwise. */
export const usualCaching = (profile: Cached): string => (profile === 'managed' ? 'apply' : 'suggest');

/** What was done for one request, in a sentence. */
export function cachingWords(caching: CachingOfRequest): string {
  const marks = caching.breakpoints > 0 ? `${caching.breakpoints} ${caching.breakpoints === 1 ? 'breakpoint' : 'breakpoints'}` : '';
  const what = [marks, caching.key ? 'a cache key' : '', caching.context_cache ? 'a context cache' : ''].filter(Boolean).join(' and ');
  if (caching.state === 'suggested') {
    const saved = caching.saved_tokens ? `some ${count(caching.saved_tokens)} tokens could come from the cache` : 'the next request could read from the cache';
    return `Suggested: with ${what}, ${saved}.`;
  }
  if (caching.saved_tokens === null) return `Applied: ${what}. The provider did not say what came from its cache.`;
  return `Applied: ${what}. ${count(caching.saved_tokens)} tokens came from the cache, as the provider counts.`;
}

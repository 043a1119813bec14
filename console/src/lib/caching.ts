// Prompt caches of providers: what the gateway may do for them, and what it did.

import { count, percents } from './format';
import type { CachingOfRequest, SemanticSearch } from './wire';

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
    const saved = caching.saved_tokens ? `about ${count(caching.saved_tokens)} tokens could come from the cache` : 'the next request could read from the cache';
    return `Suggested: with ${what}, ${saved}.`;
  }
  const kept = caching.refreshes ? ` The cache was kept alive by ${caching.refreshes === 1 ? 'a refresh' : `${caching.refreshes} refreshes`} before.` : '';
  if (caching.saved_tokens === null) return `Applied: ${what}. The provider didn’t report cached tokens.${kept}`;
  return `Applied: ${what}. ${count(caching.saved_tokens)} tokens were read from the cache, according to the provider.${kept}`;
}

/** Whether marked prefixes are read again before they expire. */
export const KEEP_ALIVE_STATES = [
  ['on', 'On'],
  ['off', 'Off'],
] as const;

/** The state of a setting that may be left to the wider one. */
export const keepAliveState = (isKept: boolean | undefined): string => (isKept === undefined ? '' : isKept ? 'on' : 'off');

export const RESPONSE_MODES = [
  ['exact', 'Identical requests'],
  ['semantic', 'Similar requests, too'],
  ['off', 'Off'],
] as const;

/** Basis points in per cent, all digits. */
export const percentOf = (bps: number): string => percents(bps / 100);

const SEARCHES: Record<string, string> = {
  hit: 'A similar request had the answer',
  none_alike: 'No stored answer was similar enough',
  guarded: 'The similar request differs in a number, a negation or a literal',
  not_allowed: 'The provider of the stored answer is no longer allowed',
  renewed: 'The request asked for a new answer',
  embedding_failed: 'The text couldn’t be embedded',
  embedding_late: 'The embedding took too long',
};

/** How the search for an answer by meaning ended, in a sentence. */
export function searchWords(search: SemanticSearch): string {
  const similarity = search.similarity_bps === null ? '' : ` (${percentOf(search.similarity_bps)} at most)`;
  return `${SEARCHES[search.outcome] ?? search.outcome}${similarity}.`;
}

/** The setting with this model and bound; what is empty is left to the wider setting. */
export function semanticPatch(model: string, percent: string): { model: string | null; min_similarity_bps: number | null } {
  const bound = Number(percent.trim().replace(',', '.'));
  return { model: model.trim() === '' ? null : model.trim(), min_similarity_bps: percent.trim() === '' ? null : Math.round(bound * 100) };
}

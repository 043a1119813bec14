// How a reconciliation is told: its kinds, its share of what is unexplained, and where the requests of a difference are.

import { term } from './filter';
import type { ReconciledDifference, ReconciledKind } from './wire';

/** What each kind means, for people. */
export const KINDS: Record<ReconciledKind['kind'], readonly [string, string]> = {
  matched: ['Matched', 'the same on both sides'],
  late: ['Late', 'booked by the provider in a neighbouring bucket'],
  estimate: ['Estimate', 'off by no more than what was estimated here, where the provider reported no count'],
  rounding: ['Rounding', 'within the precision of the exported amounts'],
  price_differs: ['Price differs', 'the same quantity at another price'],
  missing: ['Missing', 'billed by the provider, and not recorded here'],
  extra: ['Extra', 'recorded here, and not billed by the provider'],
  credit: ['Credit', 'given back by the provider'],
};

/** Millionths as per cent, with what is not nothing never shown as nothing. */
export function percent(ppm: number): string {
  return `${(ppm / 10_000).toLocaleString('en', { maximumFractionDigits: 4 })} %`;
}

/** How long before a bucket a request that ended in it may have begun. */
const LONG_MS = 600_000;

/** The query of the page that lists the requests of a difference. */
export function behind(provider: string, difference: ReconciledDifference): { from: string; to: string; filter: string } {
  const from = new Date(Date.parse(difference.from) - LONG_MS).toISOString();
  const named = difference.model?.includes('/') ? [term('model', difference.model)] : [];
  return { from, to: difference.until, filter: [term('provider', provider), ...named].join(' ') };
}

// How a reconciliation is told: its kinds, its share of what is unexplained, and where the requests of a difference are.

import { term } from './filter';
import { percents } from './format';
import type { ReconciledDifference, ReconciledKind } from './wire';

/** What each kind means, for people. */
export const KINDS: Record<ReconciledKind['kind'], readonly [string, string]> = {
  matched: ['Matched', 'the same on both sides'],
  late: ['Late', 'reported by the provider in an adjacent bucket'],
  estimate: ['Estimate', 'within our estimate, for requests without a provider count'],
  rounding: ['Rounding', 'within the precision of the exported amounts'],
  price_differs: ['Price differs', 'same quantity, different price'],
  missing: ['Missing', 'billed by the provider, not recorded here'],
  extra: ['Extra', 'recorded here, not billed by the provider'],
  credit: ['Credit', 'credited by the provider'],
};

/** Millionths as per cent, with what is not nothing never shown as nothing. */
export function percent(ppm: number): string {
  return percents(ppm / 10_000);
}

/** How long before a bucket a request that ended in it may have begun. */
const LONG_MS = 600_000;

/** The query of the page that lists the requests of a difference. */
export function behind(provider: string, difference: ReconciledDifference): { from: string; to: string; filter: string } {
  const from = new Date(Date.parse(difference.from) - LONG_MS).toISOString();
  const named = difference.model?.includes('/') ? [term('model', difference.model)] : [];
  return { from, to: difference.until, filter: [term('provider', provider), ...named].join(' ') };
}

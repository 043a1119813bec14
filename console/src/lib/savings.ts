// What caches saved, from the sums of usage.

import type { Series } from './series';
import { values } from './series';
import type { Reuse } from './reuse';
import type { UsageRow } from './wire';

export const hits = (row: UsageRow): number => row.reuse?.response_cache?.hits ?? 0;
/** In nano-USD. */
export const byProviders = (row: UsageRow): number => row.reuse?.reuse_credit_nanos ?? 0;
export const byResponses = (row: UsageRow): number => row.reuse?.response_cache?.saved_nanos ?? 0;
export const saved = (row: UsageRow): number => byProviders(row) + byResponses(row);

const of = (part: (reuse: Reuse) => number) => (row: UsageRow) => (row.reuse ? part(row.reuse) : 0);

/** The input of each stretch of time, part by part: they add up to it. */
const PARTS: [name: string, color: string, of: (row: UsageRow) => number][] = [
  ['Realized', '--series-1', of((reuse) => reuse.realized_reused_tokens)],
  ['Missed', '--outcome-failed', of((reuse) => reuse.missed_opportunity_tokens)],
  ['Eligible, not sent before', '--series-3', of((reuse) => reuse.eligible_reuse_tokens - reuse.candidate_reuse_tokens)],
  ['Not eligible', '--series-6', of((reuse) => reuse.input_tokens - reuse.eligible_reuse_tokens)],
];

function series(parts: [string, string, (row: UsageRow) => number][], rows: UsageRow[], starts: number[], width: number): Series[] {
  return parts.map(([name, color, of]) => ({ name, color, values: values(rows, starts, width, of) })).filter((one) => one.values.some((value) => value !== 0));
}

export const fallOverTime = (rows: UsageRow[], starts: number[], width: number): Series[] => series(PARTS, rows, starts, width);

/** In nano-USD. */
export const savedOverTime = (rows: UsageRow[], starts: number[], width: number): Series[] =>
  series(
    [
      ['Caches of providers and nodes', '--series-1', byProviders],
      ['The response cache', '--series-2', byResponses],
    ],
    rows,
    starts,
    width,
  );

// What policies refused, from `/v2/analytics/refusals`.

import type { Series } from './series';
import { bySize } from './series';
import { bucketMs, INTERVAL_MS, type Range } from './range';
import type { PolicyRefusals } from './wire';
import { plain } from './words';

export interface RefusalShare {
  name: string;
  value: number;
}

/** The rule in words, as a policy writes it; records of an earlier version don't know it. */
export const ruleName = (row: PolicyRefusals): string => (row.rule ? plain(row.rule) : 'rule not recorded');

/** They are counted by the hour or the day. */
export const refusalInterval = (range: Range): 'hour' | 'day' => (bucketMs(range) < INTERVAL_MS.day ? 'hour' : 'day');

/** A series for each rule. */
export const refusalsOverTime = (rows: PolicyRefusals[], starts: number[], width: number): Series[] => bySize(rows, ruleName, starts, width, (row) => row.requests);

/** The rules of each policy, the most frequent first. */
export function refusalShares(rows: PolicyRefusals[], owner: (policyId: string) => string): RefusalShare[] {
  const sums = new Map<string, number>();
  for (const row of rows) {
    const name = `${owner(row.policy_id)}: ${ruleName(row)}`;
    sums.set(name, (sums.get(name) ?? 0) + row.requests);
  }
  return [...sums].map(([name, value]) => ({ name, value })).sort((a, b) => b.value - a.value || (a.name < b.name ? -1 : 1));
}

// Rows of `/v2/usage` turned into the lines and bars of a plot.

import { t } from './text';

export interface Series {
  name: string;
  /** A CSS custom property: `--series-1` … `--series-8`, or a meaning such as `--bad`. */
  color: string;
  values: number[];
  href?: string;
  /** A line goes on over what was not looked at. */
  bridges?: boolean;
}

export const OTHER = 'other';
const SERIES_MAX = 7;

interface Placed {
  start?: string;
}

/** One value for each bucket; rows of finer buckets are added up. */
export function values<Row extends Placed>(rows: Row[], starts: number[], width: number, of: (row: Row) => number): number[] {
  const places = new Map(starts.map((start, at) => [start, at]));
  const found = new Array<number>(starts.length).fill(0);
  for (const row of rows) {
    const at = places.get(Math.floor(Date.parse(row.start ?? '') / width) * width);
    if (at !== undefined) found[at] = (found[at] ?? 0) + of(row);
  }
  return found;
}

/** The largest groups, each with a series of its own; the rest together as "other". */
export function bySize<Row extends Placed>(rows: Row[], name: (row: Row) => string, starts: number[], width: number, of: (row: Row) => number): Series[] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const key = name(row);
    const group = groups.get(key);
    if (group) group.push(row);
    else groups.set(key, [row]);
  }
  const sum = (list: Row[]) => list.reduce((total, row) => total + of(row), 0);
  const ordered = [...groups].map(([key, list]) => ({ key, list, total: sum(list) })).filter((group) => group.total > 0);
  ordered.sort((a, b) => b.total - a.total || (a.key < b.key ? -1 : 1));
  const shown = ordered.length > SERIES_MAX + 1 ? ordered.slice(0, SERIES_MAX) : ordered;
  const series = shown.map(({ key, list }, at) => ({ name: key, color: `--series-${at + 1}`, values: values(list, starts, width, of) }));
  const rest = ordered.slice(shown.length).flatMap(({ list }) => list);
  if (rest.length > 0) series.push({ name: OTHER, color: '--series-8', values: values(rest, starts, width, of) });
  return series;
}

/** A measure that doesn't add up, of the largest groups; not a number where a bucket has none. */
export function ofLargest<Row extends Placed>(rows: Row[], name: (row: Row) => string, starts: number[], width: number, size: (row: Row) => number, of: (row: Row) => number): Series[] {
  const largest = bySize(rows, name, starts, width, size).filter((one) => one.name !== OTHER);
  const alone = (key: string) => values(rows.filter((row) => name(row) === key), starts, width, (row) => of(row) || 0);
  return largest.map((one) => ({ ...one, bridges: true, values: alone(one.name).map((value) => value || NaN) }));
}

export const OUTCOMES = [
  { outcome: 'completed', label: 'Completed', color: '--outcome-completed' },
  { outcome: 'cut', label: 'Cut by a budget', color: '--outcome-cut' },
  { outcome: 'failed', label: 'Failed', color: '--outcome-failed' },
  { outcome: 'refused', label: 'Refused', color: '--outcome-refused' },
  { outcome: 'client_cancelled', label: 'Client left', color: '--outcome-cancelled' },
  { outcome: 'interrupted', label: 'Interrupted', color: '--outcome-interrupted' },
  { outcome: 'deadline', label: 'Deadline', color: '--outcome-deadline' },
] as const;

interface Ended extends Placed {
  outcome?: string | null;
  requests: number;
  unattempted_requests: number;
}

/** The filter of the requests that ended so: what was refused before an attempt failed by itself. */
export function outcomeFilter(outcome: string): string {
  if (outcome === 'refused') return 'outcome:failed attempts:0';
  return outcome === 'failed' ? 'outcome:failed attempts:>0' : `outcome:${outcome}`;
}

/** A series for each way that some of the requests ended in. */
export function byOutcome<Row extends Ended>(rows: Row[], starts: number[], width: number): (Series & { outcome: string })[] {
  const requests = (row: Row, outcome: string) => {
    if (outcome === 'refused') return row.outcome === 'failed' ? row.unattempted_requests : 0;
    if (row.outcome !== outcome) return 0;
    return outcome === 'failed' ? row.requests : row.requests + row.unattempted_requests;
  };
  return OUTCOMES.map(({ outcome, label, color }) => ({ outcome, name: label, color, values: values(rows, starts, width, (row) => requests(row, outcome)) })).filter((one) => one.values.some((value) => value > 0));
}

export const PROFILES = [
  { profile: 'byok', label: 'Your keys (BYOK)', color: '--series-1' },
  { profile: 'managed_provider', label: 'Managed', color: '--series-2' },
  { profile: 'byoc', label: 'Your nodes (BYOC)', color: '--series-3' },
] as const;

/** Off for most: named where there are some, and where a rule may list it. */
export const SUBSCRIPTION = { profile: 'subscription', label: 'Subscriptions' } as const;

export function profileLabel(profile: string | null | undefined): string {
  return [...PROFILES, SUBSCRIPTION].find((one) => one.profile === profile)?.label ?? profile ?? t('none');
}

/** The modes are the profiles, but for their name of the managed one. */
export const modeLabel = (mode: string): string => profileLabel(mode === 'mi' ? 'managed_provider' : mode);

export function outcomeLabel(outcome: string): string {
  return OUTCOMES.find((one) => one.outcome === outcome)?.label ?? outcome;
}

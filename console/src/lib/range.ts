// The span of time that a page looks at: a preset that moves with the clock, or two fixed moments.

export const PRESETS = ['15m', '1h', '6h', '24h', '7d', '30d', '90d', 'month'] as const;
export type Preset = (typeof PRESETS)[number];

export const STANDARD: Preset = '24h';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const LENGTHS: Record<Exclude<Preset, 'month'>, number> = {
  '15m': 15 * MINUTE,
  '1h': HOUR,
  '6h': 6 * HOUR,
  '24h': DAY,
  '7d': 7 * DAY,
  '30d': 30 * DAY,
  '90d': 90 * DAY,
};

export const NAMES: Record<Preset, string> = {
  '15m': 'Last 15 minutes',
  '1h': 'Last hour',
  '6h': 'Last 6 hours',
  '24h': 'Last 24 hours',
  '7d': 'Last 7 days',
  '30d': 'Last 30 days',
  '90d': 'Last 90 days',
  month: 'This month (UTC)',
};

export interface Range {
  /** The preset, or nothing where both ends are fixed. */
  preset?: Preset;
  from: number;
  to: number;
  /** Bars are days, however short it is. */
  isByDay?: boolean;
}

export function isPreset(text: string | null): text is Preset {
  return text !== null && (PRESETS as readonly string[]).includes(text);
}

/** The range of an address. Ends are whole minutes, because sums are kept by the minute. */
export function readRange(query: URLSearchParams, now: number): Range {
  const from = instant(query.get('from'));
  const to = instant(query.get('to'));
  if (from !== undefined && (to === undefined || to > from)) {
    return { from: floor(from, MINUTE), to: ceil(to ?? now, MINUTE) };
  }
  const named = query.get('range');
  const preset = isPreset(named) ? named : STANDARD;
  const end = ceil(now, MINUTE);
  if (preset === 'month') {
    const today = new Date(now);
    return { preset, from: Date.UTC(today.getUTCFullYear(), today.getUTCMonth(), 1), to: end };
  }
  return { preset, from: end - LENGTHS[preset], to: end };
}

/** The whole days that a range touches, in UTC: what end users used is summed by the day. */
export function wholeDays(range: Range): Range {
  return { ...range, from: floor(range.from, DAY), to: ceil(range.to, DAY), isByDay: true };
}

function instant(text: string | null): number | undefined {
  if (text === null || text === '') return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : at;
}

function floor(at: number, step: number): number {
  return Math.floor(at / step) * step;
}

function ceil(at: number, step: number): number {
  return Math.ceil(at / step) * step;
}

/** The span just before, of the same length: what a change is told against. */
export function before(range: Range): Range {
  return { from: range.from - (range.to - range.from), to: range.from };
}

export type Interval = 'minute' | 'hour' | 'day';

export const INTERVAL_MS: Record<Interval, number> = { minute: MINUTE, hour: HOUR, day: DAY };

/** The interval to ask the server for, so that a plot has enough bars and not too many. */
export function intervalOf(range: Range): Interval {
  const length = range.to - range.from;
  if (range.isByDay) return 'day';
  if (length <= 6 * HOUR) return 'minute';
  return length <= 8 * DAY ? 'hour' : 'day';
}

/** The width of a bar: minutes are drawn in fives where they would be too many. */
export function bucketMs(range: Range): number {
  const interval = intervalOf(range);
  const length = range.to - range.from;
  return interval === 'minute' && length > 2 * HOUR ? 5 * MINUTE : INTERVAL_MS[interval];
}

/** The starts of all bars of a range, those without anything too. */
export function buckets(range: Range, width: number = bucketMs(range)): number[] {
  const starts: number[] = [];
  for (let at = floor(range.from, width); at < range.to; at += width) starts.push(at);
  return starts;
}

export function rangeQuery(range: Range): { start: string; end: string } {
  return { start: new Date(range.from).toISOString(), end: new Date(range.to).toISOString() };
}

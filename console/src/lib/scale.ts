// Plot arithmetic: round axis ends, ticks, and which bar lies under a pointer.

export interface Axis {
  max: number;
  ticks: number[];
  /** Where a logarithmic axis begins; one from 0 has none. */
  min?: number;
}

/** An axis from 0 that holds `largest`, with ticks at 1, 2 or 5 times a power of ten. */
export function axis(largest: number, ticksWanted = 4): Axis {
  if (!(largest > 0)) return { max: 1, ticks: [0, 1] };
  const rough = largest / ticksWanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999_999) ?? 10) * power;
  const ticks: number[] = [];
  const steps = Math.ceil(largest / step - 1e-9);
  for (let at = 0; at <= steps; at += 1) ticks.push(Number((at * step).toPrecision(12)));
  return { max: ticks.at(-1) ?? largest, ticks };
}

/** An axis of whole things: no half requests. */
export function wholeAxis(largest: number, ticksWanted = 4): Axis {
  const found = axis(Math.max(largest, 1), ticksWanted);
  const ticks = found.ticks.filter((tick) => Number.isInteger(tick));
  return { max: found.max, ticks };
}

/** A logarithmic axis over all of `values` that are above 0: powers of ten, and 2 and 5 between few of them. */
export function logAxis(values: number[], ticksWanted = 4): Axis {
  const positive = values.filter((value) => Number.isFinite(value) && value > 0);
  if (positive.length === 0) return { min: 1, max: 10, ticks: [1, 10] };
  const low = Math.floor(Math.log10(Math.min(...positive)) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...positive)) - 1e-9));
  const every = Math.ceil((high - low) / ticksWanted);
  const between = high - low <= 2 && ticksWanted >= 4 ? [1, 2, 5] : [1];
  const ticks: number[] = [];
  for (let power = low; power < high; power += every) for (const factor of between) ticks.push(Number((factor * 10 ** power).toPrecision(12)));
  if ((high - low) % every === 0) ticks.push(10 ** high);
  return { min: 10 ** low, max: 10 ** high, ticks };
}

/** How far up an axis a value stands: 0 at its start, 1 at its end. */
export function heightOf({ min, max }: Axis, value: number): number {
  if (min === undefined) return value / max;
  return value <= min ? 0 : Math.log10(value / min) / Math.log10(max / min);
}

const FLATTENED = 20;
const VALUES_MIN = 4;

/** Whether the largest value presses most of the others onto the ground of an axis from 0. */
export function isFlattened(values: number[]): boolean {
  const known = values.filter(Number.isFinite).sort((a, b) => a - b);
  const middle = known[Math.floor((known.length - 1) / 2)] ?? 0;
  return known.length >= VALUES_MIN && (known[0] ?? 0) > 0 && (known.at(-1) ?? 0) >= FLATTENED * middle;
}

export interface TimeTick {
  at: number;
  /** A midnight: its label is the day. */
  isDay: boolean;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR];
const DAYS = [1, 2, 3, 7, 14, 28];
/** The first Monday after the epoch is its fifth day: weeks begin there. */
const MONDAY = 4;

/** Round times of the clock between two moments, at most so many: midnights where there are several, else whole hours or minutes. */
export function timeTicks(from: number, to: number, ticksMax: number, utc: boolean): TimeTick[] {
  const wanted = Math.max(1, ticksMax);
  const step = to - from > 2 * DAY ? undefined : STEPS.find((one) => (to - from) / one <= wanted);
  const midnights: number[] = [];
  for (let day = midnight(from, 0, utc), at = 1; day < to; at += 1) {
    midnights.push(day);
    day = midnight(from, at, utc);
  }
  if (step === undefined) {
    const days = midnights.filter((day) => day >= from);
    const every = DAYS.find((one) => days.length / one <= wanted) ?? Math.ceil(days.length / wanted);
    const number = (day: number) => Math.round((day - (utc ? 0 : new Date(day).getTimezoneOffset() * MINUTE)) / DAY) - MONDAY;
    return days.filter((day) => number(day) % every === 0).map((at) => ({ at, isDay: true }));
  }
  return midnights.flatMap((day, place) => {
    const end = midnights[place + 1] ?? to;
    const found: TimeTick[] = [];
    for (let at = day; at < Math.min(end, to); at += step) if (at >= from) found.push({ at, isDay: at === day });
    return found;
  });
}

/** The midnight that a day begins with, some days after the one of a moment; days of a changing clock are not all equally long. */
function midnight(moment: number, days: number, utc: boolean): number {
  const date = new Date(moment);
  return utc ? Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate() + days) : new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).getTime();
}

/** The starts of buckets that get a label, so that no two labels touch. */
export function labelled(starts: number[], labelsMax: number): number[] {
  if (starts.length === 0) return [];
  const every = Math.max(1, Math.ceil(starts.length / Math.max(1, labelsMax)));
  return starts.filter((_, at) => at % every === 0);
}

export function bucketAt(x: number, width: number, length: number): number {
  if (length === 0 || width <= 0) return 0;
  return Math.min(length - 1, Math.max(0, Math.floor((x / width) * length)));
}

/** Sums of `values` from the bottom up: where each series of a stack begins. */
export function stacked(series: number[][], length: number): number[][] {
  const floor = new Array<number>(length).fill(0);
  return series.map((values) => {
    const base = [...floor];
    for (let at = 0; at < length; at += 1) floor[at] = (floor[at] ?? 0) + (values[at] ?? 0);
    return base;
  });
}

export function totals(series: number[][], length: number): number[] {
  const sums = new Array<number>(length).fill(0);
  for (const values of series) for (let at = 0; at < length; at += 1) sums[at] = (sums[at] ?? 0) + (values[at] ?? 0);
  return sums;
}

// Plot arithmetic: round axis ends, ticks, and which bar lies under a pointer.

export interface Axis {
  max: number;
  ticks: number[];
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

import { expect, test } from 'vitest';
import { pointsOf } from './paint';
import { axis, bucketAt, heightOf, isFlattened, labelled, logAxis, stacked, timeTicks, totals, wholeAxis } from './scale';
import { bySize, values } from './series';

test('an axis ends at a round number that holds everything', () => {
  expect(axis(87)).toEqual({ max: 100, ticks: [0, 50, 100] });
  expect(axis(0.0423).max).toBe(0.06);
  expect(axis(100).max).toBe(100);
  expect(axis(0)).toEqual({ max: 1, ticks: [0, 1] });
  for (const largest of [1, 3, 7, 11, 99, 101, 12_345, 0.000_07]) expect(axis(largest).max).toBeGreaterThanOrEqual(largest);
  expect(wholeAxis(2).ticks.every(Number.isInteger)).toBe(true);
});

test('a pointer always has a bucket under it', () => {
  expect([bucketAt(-5, 100, 10), bucketAt(0, 100, 10), bucketAt(99.9, 100, 10), bucketAt(500, 100, 10), bucketAt(5, 0, 0)]).toEqual([0, 0, 9, 9, 0]);
});

test('labels keep their distance', () => {
  expect(labelled([1, 2, 3, 4, 5, 6, 7, 8, 9], 3)).toEqual([1, 4, 7]);
  expect(labelled([], 3)).toEqual([]);
});

test('stacks begin where the ones below end', () => {
  const series = [
    [1, 2],
    [3, 4],
  ];
  expect(stacked(series, 2)).toEqual([
    [0, 0],
    [1, 2],
  ]);
  expect(totals(series, 2)).toEqual([4, 6]);
});

const HOUR = 3_600_000;
const row = (start: number, model: string, tokens: number) => ({ start: new Date(start).toISOString(), model, tokens });

test('finer rows are added up in their bucket, and none is lost to "other"', () => {
  const starts = [0, HOUR];
  expect(values([row(60_000, 'a', 1), row(120_000, 'a', 2), row(HOUR, 'a', 4)], starts, HOUR, (one) => one.tokens)).toEqual([3, 4]);
  const rows = Array.from({ length: 12 }, (_, at) => row(0, `m${at}`, 100 - at));
  const series = bySize(rows, (one) => one.model, starts, HOUR, (one) => one.tokens);
  expect(series.map((one) => one.name)).toEqual(['m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6', 'other']);
  expect(totals(series.map((one) => one.values), 2)).toEqual([rows.reduce((sum, one) => sum + one.tokens, 0), 0]);
});

test('a logarithmic axis ends at powers of ten, and has marks between few of them', () => {
  expect(logAxis([12_000, 3_000_000])).toEqual({ min: 10_000, max: 10_000_000, ticks: [10_000, 100_000, 1_000_000, 10_000_000] });
  expect(logAxis([3, 40]).ticks).toEqual([1, 2, 5, 10, 20, 50, 100]);
  expect(logAxis([3, 40], 2).ticks).toEqual([1, 10, 100]);
  expect(logAxis([1, 1e9]).ticks).toEqual([1, 1e3, 1e6, 1e9]);
  expect(logAxis([5, 5])).toEqual({ min: 1, max: 10, ticks: [1, 2, 5, 10] });
  expect(logAxis([Number.NaN, 0])).toEqual({ min: 1, max: 10, ticks: [1, 10] });
});

test('a value stands as high as its axis says', () => {
  expect([0, 50, 100].map((value) => heightOf({ max: 100, ticks: [] }, value))).toEqual([0, 0.5, 1]);
  expect([0, 1, 10, 100].map((value) => heightOf({ min: 1, max: 100, ticks: [] }, value))).toEqual([0, 0, 0.5, 1]);
});

test('one outlier flattens the rest; a zero has no logarithm', () => {
  expect(isFlattened([10, 12, 11, 3_000])).toBe(true);
  expect(isFlattened([10, 12, 11, 190])).toBe(false);
  expect(isFlattened([10, 12, 11, Number.NaN, 3_000])).toBe(true);
  expect(isFlattened([0, 12, 11, 3_000])).toBe(false);
  expect(isFlattened([10, 3_000])).toBe(false);
});

const DAY = 24 * HOUR;
const MONDAY = Date.UTC(2026, 10, 16);
const marked = (from: number, to: number, most: number) => timeTicks(from, to, most, true).map(({ at, isDay }) => (isDay ? new Date(at).toISOString().slice(5, 10) : new Date(at).toISOString().slice(11, 16)));

test('marks of several days are midnights, each day once', () => {
  expect(marked(MONDAY + 15 * HOUR, MONDAY + 7 * DAY + 15 * HOUR, 10)).toEqual(['11-17', '11-18', '11-19', '11-20', '11-21', '11-22', '11-23']);
  expect(marked(MONDAY + 15 * HOUR, MONDAY + 7 * DAY + 15 * HOUR, 3)).toHaveLength(2);
  for (const most of [2, 3, 5, 8, 13]) {
    const found = marked(MONDAY, MONDAY + 90 * DAY, most);
    expect(new Set(found).size).toBe(found.length);
    expect(found.length).toBeLessThanOrEqual(most);
  }
});

test('weeks begin on a Monday', () => {
  expect(marked(MONDAY - DAY, MONDAY + 29 * DAY, 6)).toEqual(['11-16', '11-23', '11-30', '12-07', '12-14']);
});

test('marks of a day are whole hours, its midnight the day', () => {
  expect(marked(MONDAY + 20 * HOUR + 60_000, MONDAY + DAY + 8 * HOUR, 5)).toEqual(['21:00', '11-17', '03:00', '06:00']);
  expect(marked(MONDAY + 60_000, MONDAY + HOUR, 6)).toEqual(['00:10', '00:20', '00:30', '00:40', '00:50']);
});

test('marks follow a clock that is changed', () => {
  const local = (from: Date, to: Date, most: number) => timeTicks(from.getTime(), to.getTime(), most, false);
  const days = local(new Date(2026, 9, 20, 15), new Date(2026, 9, 30, 15), 12);
  expect(days.map(({ at }) => [new Date(at).getDate(), new Date(at).getHours()])).toEqual([21, 22, 23, 24, 25, 26, 27, 28, 29, 30].map((day) => [day, 0]));
});

test('a value between gaps is a point, and a line over what was not looked at has none', () => {
  const none = Number.NaN;
  const line = { name: 'p50', color: '--series-1', values: [1, none, 2, 3, none, 4] };
  expect(pointsOf(line)).toEqual([0, 5]);
  expect(pointsOf(line, 2)).toEqual([0, 2, 5]);
  expect(pointsOf({ ...line, bridges: true })).toEqual([]);
});

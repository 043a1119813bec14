import { expect, test } from 'vitest';
import { axis, bucketAt, labelled, stacked, totals, wholeAxis } from './scale';
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

import { expect, test } from 'vitest';
import { before, bucketMs, buckets, intervalOf, readRange, wholeDays } from './range';

const NOW = Date.UTC(2026, 10, 20, 12, 34, 56);
const query = (text: string) => new URLSearchParams(text);

test('a preset ends with the running minute, and an unknown one is a day', () => {
  const day = readRange(query(''), NOW);
  expect([day.preset, day.to - NOW, day.to - day.from]).toEqual(['24h', 4_000, 86_400_000]);
  expect(readRange(query('range=soon'), NOW).preset).toBe('24h');
  expect(new Date(readRange(query('range=month'), NOW).from).toISOString()).toBe('2026-11-01T00:00:00.000Z');
});

test('fixed ends are widened to whole minutes, as the server sums them', () => {
  const range = readRange(query('from=2026-11-20T10:00:30Z&to=2026-11-20T10:10:30Z'), NOW);
  expect(new Date(range.from).toISOString()).toBe('2026-11-20T10:00:00.000Z');
  expect(new Date(range.to).toISOString()).toBe('2026-11-20T10:11:00.000Z');
  expect(readRange(query('from=2026-11-20T10:00:00Z&to=2026-11-19T10:00:00Z'), NOW).preset).toBe('24h');
});

test('bars are as wide as their number allows', () => {
  const cases: [string, string, number][] = [
    ['range=15m', 'minute', 15],
    ['range=6h', 'minute', 72],
    ['range=24h', 'hour', 24],
    ['range=7d', 'hour', 168],
    ['range=90d', 'day', 90],
  ];
  for (const [text, interval, atLeast] of cases) {
    const range = readRange(query(text), NOW);
    expect(intervalOf(range)).toBe(interval);
    const starts = buckets(range);
    expect(starts.length).toBeGreaterThanOrEqual(atLeast);
    expect(starts.length).toBeLessThanOrEqual(atLeast + 1);
    expect((starts[0] ?? 0) % bucketMs(range)).toBe(0);
  }
});

test('what is summed by the day is asked for in whole days', () => {
  const range = wholeDays(readRange(query('range=1h'), NOW));
  expect([range.from % 86_400_000, range.to % 86_400_000]).toEqual([0, 0]);
  expect(range.from <= NOW && range.to >= NOW).toBe(true);
  expect([intervalOf(range), buckets(range).length]).toEqual(['day', 1]);
});

test('the span before ends where the span begins', () => {
  const range = readRange(query('range=1h'), NOW);
  expect(before(range)).toEqual({ from: range.from - 3_600_000, to: range.from });
});

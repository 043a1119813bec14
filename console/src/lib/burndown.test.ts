import { expect, test } from 'vitest';
import { burndown, type Commitment } from './burndown';

const of = (more: Partial<Commitment> = {}): Commitment => ({
  credential_id: 'pcr_1',
  display_name: 'ours',
  provider: 'openai',
  amount_micros: 1_000,
  period: 'month',
  period_start: '2026-11-01T00:00:00.000Z',
  period_end: '2026-12-01T00:00:00.000Z',
  used_micros: 300,
  reserved_micros: 0,
  left_micros: 700,
  beyond_micros: 0,
  status: 'ok',
  forecast: { by_period_micros: 900, by_last_days_micros: 1_140, exhausted_at: null, under_used_micros: 0 },
  alerts_crossed: [],
  burn_down: [
    { start: '2026-11-01T00:00:00.000Z', spent_micros: 100, left_micros: 900 },
    { start: '2026-11-02T00:00:00.000Z', spent_micros: 200, left_micros: 700 },
  ],
  ...more,
});

test('what is left is known to today, and expected from then on', () => {
  const { starts, series } = burndown(of());
  expect(starts.length).toBe(30);
  const [left, expected, even] = series;
  expect(left?.values.slice(0, 3)).toEqual([900, 700, Number.NaN]);
  expect(expected?.values.slice(0, 3)).toEqual([Number.NaN, 700, 670]);
  expect(expected?.values.at(-1)).toBe(0);
  expect(even?.values.at(-1)).toBe(0);
  expect(even?.values[14]).toBe(500);
});

test('a commitment on the last day of its period has nothing left to expect', () => {
  const days = Array.from({ length: 30 }, (_, day) => ({ start: '', spent_micros: 10, left_micros: 1_000 - 10 * (day + 1) }));
  const { series } = burndown(of({ burn_down: days, used_micros: 300, forecast: { by_period_micros: 300, by_last_days_micros: 300, exhausted_at: null, under_used_micros: 700 } }));
  expect(series[1]?.values.at(-1)).toBe(700);
});

// What is left of a commitment day by day, and what will be if it goes on as before.

import type { Series } from './series';

export interface Commitment {
  credential_id: string;
  display_name: string;
  provider: string;
  amount_micros: number;
  period: string;
  period_start: string;
  period_end: string;
  used_micros: number;
  reserved_micros: number;
  left_micros: number;
  beyond_micros: number;
  status: 'ok' | 'warning' | 'exhausted' | 'under_used';
  forecast: { by_period_micros: number; by_last_days_micros: number; exhausted_at: string | null; under_used_micros: number };
  alerts_crossed: { percent: number; at: string; used_micros: number }[];
  burn_down: { start: string; spent_micros: number; left_micros: number }[];
}

export const DAY = 86_400_000;

/** The days of the whole period, and three lines over them. */
export function burndown(of: Commitment): { starts: number[]; series: Series[] } {
  const [start, end] = [Date.parse(of.period_start), Date.parse(of.period_end)];
  const starts = Array.from({ length: Math.max(1, Math.round((end - start) / DAY)) }, (_, day) => start + day * DAY);
  const left = starts.map((_, day) => of.burn_down[day]?.left_micros ?? Number.NaN);
  const today = Math.min(of.burn_down.length, starts.length) - 1;
  const last = left[today] ?? of.left_micros;
  const each = (of.forecast.by_last_days_micros - of.used_micros) / Math.max(1, starts.length - 1 - today);
  const expected = starts.map((_, day) => (day < today ? Number.NaN : Math.max(0, last - each * (day - today))));
  const even = starts.map((_, day) => of.amount_micros * (1 - (day + 1) / starts.length));
  return {
    starts,
    series: [
      { name: 'Remaining', color: '--series-1', values: left },
      { name: 'Forecast', color: '--series-2', values: expected },
      { name: 'Even pace', color: '--series-6', values: even },
    ],
  };
}

import { expect, test } from 'vitest';
import { filterOf, givenName, refusedOf, standing, type Budget } from './budget';

const budget: Budget = { id: 'bud_1', name: 'workspace by the month', workspace: true, limit_micros: 100, spent_micros: 0, reserved_micros: 0, free_micros: 100, period: 'month', period_start: '2026-11-01T00:00:00Z', period_end: '2026-12-01T00:00:00Z', on_reached: 'pause', counts: 'all', alerts: [], alerts_crossed: [] };

test('a budget stands as its money does', () => {
  expect(standing({ ...budget, spent_micros: 79 })).toBeUndefined();
  expect(standing({ ...budget, spent_micros: 70, reserved_micros: 12 })).toEqual(['warn', '82% used']);
  expect(standing({ ...budget, spent_micros: 99, reserved_micros: 1 })).toEqual(['warn', '100% used']);
  expect(standing({ ...budget, spent_micros: 100 })).toEqual(['bad', 'used up']);
});

test('only a name that somebody gave is shown', () => {
  expect(givenName(budget)).toBeUndefined();
  expect(givenName({ ...budget, name: 'spring campaign' })).toBe('spring campaign');
});

test('refused requests are counted for the budget that refused them, from the start of its period', () => {
  const row = (started_at: string, refused_by: string | null) => ({ started_at, refused_by });
  const rows = [row('2026-11-02T00:00:00Z', 'bud_1'), row('2026-11-03T00:00:00Z', 'bud_1'), row('2026-11-03T00:00:00Z', null), row('2026-10-31T23:59:59Z', 'bud_1')];
  expect([refusedOf(budget, rows), refusedOf({ ...budget, id: 'bud_2' }, rows)]).toEqual([2, 0]);
  expect([filterOf(budget), filterOf({ ...budget, key_id: 'key_a' }), filterOf({ ...budget, end_user: 'an na' })]).toEqual(['', 'key:key_a', 'end_user:"an na"']);
});

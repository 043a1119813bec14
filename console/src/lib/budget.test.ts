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

test('refused requests are counted where the budget covers them, from the start of its period', () => {
  const row = (started_at: string, key_id: string | null, project_id: string) => ({ started_at, key_id, project_id });
  const rows = [row('2026-11-02T00:00:00Z', 'key_a', 'prj_a'), row('2026-11-03T00:00:00Z', 'key_b', 'prj_a'), row('2026-10-31T23:59:59Z', 'key_a', 'prj_a')];
  const of = (more: Partial<Budget>) => refusedOf({ ...budget, ...more }, rows);
  expect([of({}), of({ key_id: 'key_a' }), of({ project_id: 'prj_b' }), of({ end_user: 'anna' })]).toEqual([2, 1, 0, 0]);
  expect([filterOf(budget), filterOf({ ...budget, key_id: 'key_a' }), filterOf({ ...budget, end_user: 'anna' })]).toEqual(['', 'key:key_a', undefined]);
});

import { expect, test } from 'vitest';
import { refusalShares, refusalsOverTime } from './refusals';
import type { PolicyRefusals } from './wire';

const DAY = 86_400_000;
const row = (day: number, policy_id: string, rule: string | null, requests: number): PolicyRefusals => ({ start: new Date(day * DAY).toISOString(), project_id: 'prj_1', policy_id, rule, requests });
const ROWS = [row(0, 'pol_a', 'allowed_providers', 2), row(1, 'pol_a', 'allowed_providers', 1), row(1, 'pol_b', 'checks', 4), row(1, 'pol_b', null, 1)];

test('refusals are drawn by rule', () => {
  const drawn = refusalsOverTime(ROWS, [0, DAY], DAY).map((one) => [one.name, one.values]);
  expect(drawn).toEqual([
    ['checks', [0, 4]],
    ['allowed providers', [2, 1]],
    ['rule not recorded', [0, 1]],
  ]);
});

test('refusals are added up by policy and rule', () => {
  const shares = refusalShares(ROWS, (id) => (id === 'pol_a' ? 'All projects' : 'deleted policy'));
  expect(shares).toEqual([
    { name: 'deleted policy: checks', value: 4 },
    { name: 'All projects: allowed providers', value: 3 },
    { name: 'deleted policy: rule not recorded', value: 1 },
  ]);
});

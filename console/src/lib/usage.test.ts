import { expect, test } from 'vitest';
import { isField } from './filter';
import { asked, fieldOf, groupName, GROUPS, groupTitle, METRICS, ownBill, spend } from './usage';
import type { UsageRow } from './wire';

test('no group is shown by the name that the API has for it', () => {
  for (const group of GROUPS) expect([groupName(group), groupTitle(group)].join(' '), group).not.toContain('_');
});

test('requests are filtered by the field of their group', () => {
  expect(fieldOf('error_code')).toBe('error');
  const fields = GROUPS.filter((group) => group !== 'account').map(fieldOf);
  expect(fields.filter((field) => field === undefined || !isField(field))).toEqual([]);
});

test('the name of a group begins with a capital letter where it stands alone', () => {
  expect(groupName('end_user')).toBe('end user');
  expect(groupTitle('end_user')).toBe('End user');
});

test('what is spent is what is owed and what own providers bill, and requests are all that were sent', () => {
  // Of what providers bill, the most was billed to the operator's accounts.
  const row = { requests: 663, unattempted_requests: 29, spend_micros: 2_498, cost_micros: 920, provider_cost_micros: 2_490 } as UsageRow;
  expect([spend(row), ownBill(row), asked(row)]).toEqual([2_498, 1_578, 692]);
  const of = (id: string) => METRICS.find((one) => one.id === id)!.of(row);
  expect(of('owed') + of('bills')).toBe(of('spend'));
  expect(of('requests')).toBe(692);
});

import { expect, test } from 'vitest';
import { isField } from './filter';
import { asked, fieldOf, groupName, GROUPS, groupTitle, METRICS, ownBill, spend } from './usage';
import { ofLargest } from './series';
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

test('a percentile is a time, and nothing where nothing was completed', () => {
  const metric = METRICS.find((one) => one.id === 'latency_p95')!;
  const row = { latency_us: { p50: 1_000, p95: 2_500, p99: 9_000 } } as UsageRow;
  expect([row, {} as UsageRow].map((one) => metric.format(metric.of(one)))).toEqual(['2.50 ms', '–']);
  expect(METRICS.filter((one) => one.isTime).map((one) => one.id)).toEqual(['latency_p50', 'latency_p95', 'ttft_p50', 'ttft_p95']);
});

test('times are drawn as they are, of the groups with the most requests', () => {
  const row = (tag: string, start: number, requests: number, p50: number | null) => ({ tag, start: new Date(start).toISOString(), requests, latency_us: p50 === null ? null : { p50, p95: p50, p99: p50 } }) as UsageRow;
  const rows = [row('few', 0, 1, 9), row('many', 0, 5, 3), row('many', 2_000, 5, 4), row('none', 0, 7, null)];
  const found = ofLargest(rows, (one) => one.tag ?? '', [0, 1_000, 2_000], 1_000, (one) => one.requests, METRICS.find((one) => one.id === 'latency_p50')!.of);
  expect(found.map(({ name, values }) => [name, values])).toEqual([['many', [3, NaN, 4]], ['none', [NaN, NaN, NaN]], ['few', [9, NaN, NaN]]]);
});

import { expect, test } from 'vitest';
import { NOTHING } from './overview';
import type { Reuse } from './reuse';
import { fallOverTime, saved, savedOverTime } from './savings';
import type { UsageRow } from './wire';

const reuse: Reuse = {
  input_tokens: 100,
  eligible_reuse_tokens: 80,
  candidate_reuse_tokens: 50,
  realized_reused_tokens: 30,
  missed_opportunity_tokens: 20,
  opportunity_ratio: 0.5,
  realized_ratio: 0.3,
  reuse_capture_rate: 0.6,
  gross_input_nanos: 9_000,
  reuse_credit_nanos: 4_000,
  processed_input_nanos: 5_000,
  write_premium_nanos: 0,
  other_nanos: 0,
  evidence: 'provider_reported',
  response_cache: { hits: 2, input_tokens: 5, output_tokens: 5, saved_nanos: 3_000 },
};
const row = (start: number): UsageRow => ({ ...NOTHING, start: new Date(start).toISOString(), reuse });

test('the parts of the waterfall add up to the input', () => {
  const parts = fallOverTime([row(0), row(60_000)], [0, 60_000], 60_000);
  expect(parts.map((one) => [one.name, one.values[1]])).toEqual([
    ['Realized', 30],
    ['Missed', 20],
    ['Eligible, not sent before', 30],
    ['Not eligible', 20],
  ]);
});

test('what is saved is told by whose cache it was', () => {
  expect(saved(row(0))).toBe(7_000);
  expect(savedOverTime([row(0)], [0], 60_000).map((one) => one.values)).toEqual([[4_000], [3_000]]);
  expect(savedOverTime([{ ...NOTHING, start: new Date(0).toISOString() }], [0], 60_000)).toEqual([]);
});

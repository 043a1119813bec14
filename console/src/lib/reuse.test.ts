import { expect, test } from 'vitest';
import { bars, notes, sum, width, type Reuse } from './reuse';

const one: Reuse = {
  input_tokens: 2_000,
  eligible_reuse_tokens: 1_920,
  candidate_reuse_tokens: 1_500,
  realized_reused_tokens: 1_000,
  missed_opportunity_tokens: 500,
  opportunity_ratio: 0.75,
  realized_ratio: 0.5,
  reuse_capture_rate: 2 / 3,
  gross_input_nanos: 6_000_000,
  reuse_credit_nanos: 2_700_000,
  processed_input_nanos: 3_300_000,
  write_premium_nanos: 0,
  other_nanos: 0,
  evidence: 'provider_reported',
  candidate_evidence: 'router_inferred',
  cache_tier: 'provider',
  raised_to_report: false,
  response_cache: null,
};

test('bars are parts of the input', () => {
  expect(bars(one).map((bar) => [bar.name, width(one, bar)])).toEqual([
    ['Input', 100],
    ['Eligible', 96],
    ['Candidate', 75],
    ['Realized', 50],
    ['Missed', 25],
  ]);
  expect(width({ ...one, input_tokens: 0 }, bars(one)[0]!)).toBe(0);
});

test('money adds up in words, and a credit below nothing is added', () => {
  expect(sum(one)).toBe('$0.006 − $0.0027 = $0.0033');
  expect(sum({ ...one, reuse_credit_nanos: -1_000_000, processed_input_nanos: 7_000_000 })).toBe('$0.006 + $0.001 = $0.007');
  expect(sum({ ...one, gross_input_nanos: 0, reuse_credit_nanos: 0, processed_input_nanos: 0 })).toBeNull();
});

test('notes say what the counts rest on', () => {
  expect(notes(one)).toEqual(['Realized: as the provider reported.']);
  const sums = { ...one, evidence: 'unknown', evidence_requests: { unknown: 1 }, unseen_requests: 3, raised_requests: 1, write_premium_nanos: 500, response_cache: { hits: 2, input_tokens: 1, output_tokens: 1, saved_nanos: 1_000_000 } };
  const said = notes(sums);
  expect(said[0]).toBe('Realized: at worst not counted.');
  expect(said).toContain('3 prompts not compared with earlier prompts.');
  expect(said).toContain('2 answers came from the response cache, which saved $0.001.');
  expect(said.some((line) => line.startsWith('Writing to the cache cost $0.0000005'))).toBe(true);
  expect(notes({ ...one, input_tokens: 0, response_cache: { input_tokens: 5, output_tokens: 6, saved_nanos: 7 } })).toEqual(['The answer came from the response cache, which saved $0.000000007.']);
  const alike = { input_tokens: 5, output_tokens: 6, saved_nanos: 7, similarity_bps: 9731 };
  expect(notes({ ...one, input_tokens: 0, response_cache: alike })).toEqual(['The answer came from the response cache, for a similar request (97.31%), which saved $0.000000007.']);
});

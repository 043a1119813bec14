import { expect, test } from 'vitest';
import { limits, speeds, summary } from './health';
import { pageOf } from './paths';
import type { Upstream } from './wire';

const upstream = (more: Partial<Upstream>): Upstream => ({ id: 'pcr_1', profile: 'byok', display_name: 'one', provider: 'openai', region: null, status: 'ok', failures: null, pauses: [], pacing: null, learned_limits: [], models: [], ...more });

test('what serves is counted without what is switched off', () => {
  const both = [upstream({}), upstream({ status: 'off' })];
  expect(summary(both, 0)).toBe('All 1 serve, 1 off; no open breakers.');
  expect(summary([...both, upstream({ status: 'broken' }), upstream({ status: 'paced' }), upstream({ status: 'failing' }), upstream({ status: 'unverified' })], 2)).toBe('2 of 5 serve, 1 off; 2 open breakers.');
});

test('each kind has its page', () => {
  expect(['pcr_a', 'node_b', 'acc_c', 'sub_d', 'managed'].map(pageOf)).toEqual(['/credentials/pcr_a', '/nodes/node_b', '/accounts/acc_c', '/credentials', undefined]);
});

test('limits that were agreed come before those that were told', () => {
  const one = upstream({
    pacing: { requests_per_minute: { limit: 10, left: 3 }, requests_per_day: null, tokens_per_minute: null, concurrent_requests: null, ready_at: null },
    learned_limits: [{ model: 'm', requests: null, tokens: { limit: 100, remaining: 7, resets_at: 'then' }, told_at: 'now' }],
  });
  expect(limits([one]).map(({ name, limit, left, isAgreed }) => [name, limit, left, isAgreed])).toEqual([
    ['requests per minute', 10, 3, true],
    ['tokens', 100, 7, false],
  ]);
});

test('speeds are by model and region, and the fastest is first', () => {
  const model = (name: string, first: number | null) => ({ model: name, in_flight: 0, first_byte_p50_ms: first, whole_p50_ms: null });
  const rows = speeds([
    upstream({ id: 'pcr_slow', region: 'eu', models: [model('b', 90), model('a', null)] }),
    upstream({ id: 'pcr_fast', region: 'eu', models: [model('b', 10)] }),
    upstream({ id: 'pcr_far', region: 'us', models: [model('b', 1)] }),
  ]);
  expect(rows.map((row) => `${row.model} ${row.region} ${row.upstream.id}`)).toEqual(['a eu pcr_slow', 'b eu pcr_fast', 'b eu pcr_slow', 'b us pcr_far']);
});

import { expect, test } from 'vitest';
import { facts } from './compare';
import type { Exchange } from './wire';

const one = (change: object) =>
  ({
    status: 200,
    outcome: 'completed',
    requested_model: 'echo',
    operation: 'generate',
    dialect: 'chat',
    attempts: [],
    plan: { rejected: [], route_id: null, snapshot_version: 3 },
    timeline: { first_byte_us: 0, settled_us: 1_000 },
    input_tokens: 1,
    cached_tokens: 0,
    output_tokens: 2,
    reasoning_tokens: 0,
    cost_nanos: 0,
    provider_cost_nanos: 0,
    unpriced: false,
    fallback_used: false,
    stream: false,
    profile: null,
    error: null,
    ...change,
  }) as unknown as Exchange;

test('what differs comes first, by its name where it has one', () => {
  const found = facts(one({ key_id: 'key_1' }), one({ key_id: 'key_2', requested_model: 'tide' }), (id) => (id === 'key_1' ? 'ci' : undefined));
  expect(found.filter((fact) => fact.differs)).toEqual([
    { name: 'Model', left: 'echo', right: 'tide', differs: true },
    { name: 'Key', left: 'ci', right: 'key_2', differs: true },
  ]);
  expect(found.slice(0, 2).every((fact) => fact.differs)).toBe(true);
  expect(found.slice(2).some((fact) => fact.differs)).toBe(false);
});

test('a request beside itself differs in nothing', () => {
  expect(facts(one({}), one({}), () => undefined).some((fact) => fact.differs)).toBe(false);
});

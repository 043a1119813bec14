import { expect, test } from 'vitest';
import { facts, patchOf, typed } from './agreement';
import type { Agreement } from './wire';

const NOTHING: Agreement = { limits: {}, retention: null, commitment: null, compliance: [], pricing: {} };
const ALL: Agreement = {
  limits: { requests_per_minute: 1500, reserved_units: 50 },
  retention: { days: 30 },
  commitment: { amount_micros: 50_000_500_000, period: 'quarter' },
  compliance: ['gdpr', 'hipaa'],
  pricing: { 'openai/gpt-4o': { input: 2_250_000, output: 9_000_000, cached_input: 1_125_000 }, m: { input: 0, output: 1 } },
};

test('what is stated is typed and sent as it was', () => {
  expect(typed(ALL)).toMatchObject({ retention: 'days', days: '30', amount: '50000.5', period: 'quarter', compliance: 'gdpr, hipaa', prices: 'openai/gpt-4o = 2.25 / 9 / 1.125\nm = 0 / 0.000001' });
  const same = patchOf(ALL, typed(ALL));
  expect(same).toMatchObject({ ...ALL, limits: { ...ALL.limits, tokens_per_minute: null }, pricing: { ...ALL.pricing, m: { input: 0, output: 1, cached_input: null } } });
  expect(patchOf({ ...NOTHING, retention: 'zero' }, typed({ ...NOTHING, retention: 'zero' }))).toMatchObject({ retention: 'zero', commitment: null, compliance: [], pricing: {} });
});

test('what is not typed any more is taken away', () => {
  const gone = patchOf(ALL, typed(NOTHING));
  expect(gone).toMatchObject({ retention: null, commitment: null, compliance: [], pricing: { 'openai/gpt-4o': null, m: null } });
  expect(new Set(Object.values(gone.limits as Record<string, unknown>))).toEqual(new Set([null]));
});

test('what can’t be read goes along for the server to say what is wrong', () => {
  const wrong = patchOf(NOTHING, { limits: { requests_per_minute: 'many', requests_per_day: '1,500' }, retention: 'days', days: 'x', amount: 'much', period: 'month', compliance: 'A b', prices: 'no price\nm = a / 2\nn=1/2/3/4' });
  expect(wrong).toMatchObject({ limits: { requests_per_minute: 'many', requests_per_day: 1500 }, retention: { days: 'x' }, commitment: { amount_micros: 'much' }, compliance: ['A', 'b'] });
  expect(wrong.pricing).toEqual({ 'no price': {}, m: { input: 'a', output: 2_000_000, cached_input: null }, 'n=1/2/3/4': {} });
});

test('what is known is told in words', () => {
  expect(facts(NOTHING)).toEqual([]);
  const told = Object.fromEntries(facts(ALL).map(({ name, value }) => [name, value]));
  expect(told).toEqual({ 'Requests per minute': '1,500', 'Reserved units': '50', Retention: '30 days', Committed: '$50,000.50 a quarter', Compliance: 'gdpr, hipaa' });
  expect(facts({ ...NOTHING, retention: 'zero' })).toEqual([{ name: 'Retention', value: 'no retention' }]);
});

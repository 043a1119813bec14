import { expect, test } from 'vitest';
import { concernsOf, type Watched } from './overview';

const NOW = Date.parse('2026-11-20T12:00:00Z');
const titles = (watched: Watched) => concernsOf(watched, NOW).map((one) => one.title);
const budget = (status: string, name: string | null = 'team') => ({ id: 'bud_1', name, limit_micros: 10_000_000, spent_micros: 10_000_000, on_reached: 'pause', period_end: '2026-12-01T00:00:00Z', status });
const credential = (change: object) => ({ id: 'pcr_1', display_name: 'Team', provider: 'openai', status: 'active', last_error: null, expires_at: null, ...change });
const key = (change: object) => ({ id: 'key_1', name: 'ci', status: 'active', expires_at: null, ...change });

test('nothing is told of what is well, or may not be read', () => {
  expect(titles({})).toEqual([]);
  expect(titles({ budgets: [budget('ok')], credentials: [credential({})], keys: [key({})], credit: { credit_micros: 5_000_000, credited_micros: 10_000_000 } })).toEqual([]);
});

test('a budget is told of by its name, with what it does', () => {
  expect(concernsOf({ budgets: [budget('reached')] }, NOW)).toMatchObject([{ tone: 'bad', title: 'The budget “team” is reached', href: '/budgets?id=bud_1' }]);
  expect(concernsOf({ budgets: [budget('reached')] }, NOW)[0]?.detail).toContain('Requests are refused until then.');
  expect(titles({ budgets: [budget('warning', null)] })).toEqual(['A budget is nearly reached']);
});

test('what ends within a week is told of, and what has ended', () => {
  expect(titles({ credentials: [credential({ expires_at: '2026-11-19T00:00:00Z' })] })).toEqual(['The credential “Team” has expired']);
  expect(titles({ credentials: [credential({ expires_at: '2026-11-25T00:00:00Z' })] })[0]).toMatch(/^The credential “Team” expires /);
  expect(titles({ credentials: [credential({ expires_at: '2026-12-25T00:00:00Z' })] })).toEqual([]);
  expect(titles({ keys: [key({ expires_at: '2026-11-21T00:00:00Z' })] })[0]).toMatch(/^The API key “ci” expires /);
  // The playground’s own end within a day, always.
  expect(titles({ keys: [key({ name: 'playground', expires_at: '2026-11-21T00:00:00Z' }), key({ status: 'revoked', expires_at: '2026-11-21T00:00:00Z' })] })).toEqual([]);
});

test('credit, webhooks and nodes', () => {
  expect(titles({ credit: { credit_micros: 0, credited_micros: 10 } })).toEqual(['The prepaid credit is used up']);
  expect(titles({ credit: { credit_micros: 1, credited_micros: 10 } })).toEqual(['The prepaid credit runs out']);
  expect(titles({ credit: { credit_micros: null, credited_micros: 0 } })).toEqual([]);
  const hook = (disabled_reason: string | null) => ({ id: 'whk_1', url: 'https://a.example', status: disabled_reason ? 'disabled' : 'active', disabled_reason });
  expect(titles({ webhooks: [hook('its receiver answered 410 Gone'), hook(null), hook('somebody disabled it')] })).toEqual(['A webhook is disabled']);
});

test('the worst comes first, and no more than five', () => {
  const nodes = Array.from({ length: 4 }, (_, at) => ({ id: `node_${at}`, name: `n${at}`, status: 'unreachable', last_error: null }));
  const found = concernsOf({ keys: [key({ expires_at: '2026-11-21T00:00:00Z' })], billing: { unpriced_event_count: 1, unmetered_event_count: 1 }, nodes }, NOW);
  expect(found).toHaveLength(5);
  expect(found.map((one) => one.tone)).toEqual(['bad', 'bad', 'bad', 'bad', 'warn']);
});

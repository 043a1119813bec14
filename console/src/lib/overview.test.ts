import { expect, test } from 'vitest';
import { concernsOf, type Watched } from './overview';
import type { AlertRule, Attention } from './wire';

const NOW = Date.parse('2026-11-20T12:00:00Z');
const texts = (watched: Watched) => concernsOf(watched, NOW).map((one) => one.text);
const attention = (change: Partial<Attention>): Attention => ({ kind: 'node_unreachable', severity: 'error', subject_id: 'node_1', subject_name: 'rack', message: 'The node "rack" can\'t be reached.', link: '/nodes/node_1', ...change });
const rule = (change: Partial<AlertRule>): AlertRule => ({ id: 'alt_1', name: 'Spend', metric: 'spend_micros', threshold: 20_000_000, window_minutes: 60, requests_min: 10, project_id: null, key_id: null, model: null, provider: null, status: 'active', firing_since: '2026-11-20T11:00:00Z', last_fired_at: '2026-11-20T11:00:00Z', value: 25_000_000, measured_at: '2026-11-20T12:00:00Z', ...change });

test('nothing is shown of what is well, or may not be read', () => {
  expect(texts({})).toEqual([]);
  expect(texts({ attention: [], rules: [rule({ firing_since: null })] })).toEqual([]);
});

test('what the server finds is shown with what is done about it', () => {
  expect(concernsOf({ attention: [attention({})] }, NOW)).toEqual([{ id: 'node_unreachable node_1', tone: 'bad', text: 'The node "rack" can\'t be reached.', action: 'View', href: '/nodes/node_1' }]);
  expect(concernsOf({ attention: [attention({ kind: 'credential_expiring', severity: 'warning', link: '/credentials/pcr_1' })] }, NOW)).toMatchObject([{ tone: 'warn', action: 'Rotate', href: '/credentials/pcr_1' }]);
  expect(concernsOf({ attention: [attention({ kind: 'gateway_degraded', subject_id: null, link: '/upstreams' })] }, NOW)).toMatchObject([{ tone: 'bad', action: 'View', href: '/upstreams' }]);
  expect(concernsOf({ attention: [attention({ kind: 'spend_risen', subject_id: null, link: '/usage?range=24h' })] }, NOW)).toMatchObject([{ action: 'View usage', href: '/usage?range=24h' }]);
  expect(concernsOf({ attention: [attention({ kind: 'requests_failing', subject_id: null, link: '/requests?range=24h&filter=outcome:failed' })] }, NOW)).toMatchObject([{ href: '/requests?range=24h&filter=outcome:failed' }]);
});

test('a budget that is used up leads to it, with what happens until it starts over', () => {
  const reached = attention({ kind: 'budget_reached', subject_id: 'bud_1', message: 'The budget "team" is used up.', link: '/budgets' });
  const budget = { id: 'bud_1', on_reached: 'pause', period_end: '2026-11-23T12:00:00Z' };
  expect(concernsOf({ attention: [reached], budgets: [budget] }, NOW)).toMatchObject([{ text: 'The budget "team" is used up. Requests are refused until it resets in 3 d.', href: '/budgets?id=bud_1' }]);
  expect(texts({ attention: [reached], budgets: [{ ...budget, on_reached: 'allow' }] })).toEqual(['The budget "team" is used up. It resets in 3 d.']);
  expect(texts({ attention: [reached] })).toEqual(['The budget "team" is used up.']);
});

test('the end of a key of the playground needs nobody', () => {
  expect(texts({ attention: [attention({ kind: 'key_expired', subject_name: 'playground' })] })).toEqual([]);
  expect(texts({ attention: [attention({ kind: 'key_expired', subject_name: 'ci', message: 'It has expired.' })] })).toEqual(['It has expired.']);
});

test('alert rules that fire come first, and no more than five are shown, the worst first', () => {
  expect(texts({ rules: [rule({}), rule({ status: 'disabled' })] })).toEqual(['The alert rule “Spend” fires: $25.00 in 1 h, above $20.00.']);
  expect(texts({ rules: [rule({ value: null, metric: 'error_percent', threshold: 5 })] })).toEqual(['The alert rule “Spend” fires: above 5%.']);
  const nodes = Array.from({ length: 4 }, (_, at) => attention({ subject_id: `node_${at}` }));
  const found = concernsOf({ attention: [attention({ kind: 'credit_low', severity: 'warning' }), ...nodes], rules: [rule({})] }, NOW);
  expect(found.map((one) => one.tone)).toEqual(['bad', 'bad', 'bad', 'bad', 'bad']);
  expect(found[0]?.href).toBe('/alerts');
});

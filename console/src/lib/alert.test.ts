import { expect, test } from 'vitest';
import { measured, readThreshold, scopeWords, spanWords, stateOf, takesAlerts, valueWords, writeThreshold } from './alert';
import type { AlertRule } from './wire';

const RULE: AlertRule = { id: 'alt_1', name: 'Spend', metric: 'spend_micros', threshold: 20_000_000, window_minutes: 15, requests_min: 10, project_id: null, key_id: null, model: null, provider: null, status: 'active', firing_since: null, last_fired_at: null, value: null, measured_at: null };
const rule = (change: Partial<AlertRule>) => ({ ...RULE, ...change });

test('a threshold is typed in the unit of its metric and shown as it was typed', () => {
  expect(readThreshold('spend_micros', '20.50')).toBe(20_500_000);
  expect(writeThreshold('spend_micros', 1_234_567_890)).toBe('1234.56789');
  expect(readThreshold('spend_micros', writeThreshold('spend_micros', 1_234_567_890))).toBe(1_234_567_890);
  expect(readThreshold('error_percent', '5')).toBe(5);
  expect(readThreshold('requests', '1.5')).toBeUndefined();
  expect(readThreshold('requests', '')).toBeUndefined();
});

test('values and windows have their units', () => {
  expect([valueWords('spend_micros', 2_000_000), valueWords('error_percent', 5), valueWords('latency_p95_ms', 2_000), valueWords('requests', 1)]).toEqual(['$2.00', '5%', '2,000 ms', '1 request']);
  expect([spanWords(15), spanWords(60), spanWords(90), spanWords(1_440)]).toEqual(['15 min', '1 h', '90 min', '24 h']);
});

test('a rule is disabled, firing, well, or not measured yet', () => {
  const at = '2026-11-20T12:00:00Z';
  expect([rule({ status: 'disabled', firing_since: at }), rule({ firing_since: at, measured_at: at }), rule({ measured_at: at }), RULE].map(stateOf)).toEqual(['disabled', 'firing', 'ok', 'pending']);
});

test('its scope is named, and its requests are found', () => {
  expect(scopeWords(RULE, () => undefined)).toBe('all requests');
  expect(scopeWords(rule({ project_id: 'prj_1', model: 'echo' }), () => 'checkout')).toBe('project checkout, model echo');
  expect(measured(RULE)).toBeUndefined();
  expect(measured(rule({ metric: 'error_percent', key_id: 'key_1', measured_at: '2026-11-20T12:00:00.000Z' }))).toEqual({ from: '2026-11-20T11:45:00.000Z', to: '2026-11-20T12:00:00.000Z', filter: 'key:key_1 outcome:failed' });
});

test('a webhook for every event takes alerts', () => {
  expect([[], ['alert.resolved'], ['key.revoked']].map((events) => takesAlerts({ events }))).toEqual([true, true, false]);
});

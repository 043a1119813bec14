import { expect, test } from 'vitest';
import { behind, percent } from './reconciliation';
import type { ReconciledDifference } from './wire';

test('a share is told as per cent and nothing is hidden by rounding', () => {
  expect([0, 1, 1_000, 123_456, 1_000_000].map(percent)).toEqual(['0%', '0.0001%', '0.1%', '12.3456%', '100%']);
});

test('a difference leads to the requests that ended in its bucket', () => {
  const difference = { from: '2026-11-01T00:00:00Z', until: '2026-11-02T00:00:00Z', model: 'openai/gpt-4o-mini' } as ReconciledDifference;
  expect(behind('openai', difference)).toEqual({ from: '2026-10-31T23:50:00.000Z', to: '2026-11-02T00:00:00Z', filter: 'provider:openai model:openai/gpt-4o-mini' });
  expect(behind('openai', { ...difference, model: '4 claude sonnet' }).filter).toBe('provider:openai');
});

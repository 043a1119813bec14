import { expect, test } from 'vitest';
import { qosWords } from './qos';
import type { QosOutcome } from './wire';

const outcome: QosOutcome = {
  class: null,
  target_ttft_ms: null,
  deadline_ms: null,
  admission: 'admitted',
  completion: 'completed',
  target_met: null,
  ttft_ms: 5,
  latency_ms: 9,
  deadline_met: null,
  degraded: false,
  fallback_used: false,
  reason_code: null,
};

test('what was not stated is not told', () => {
  expect(qosWords(outcome)).toEqual({ served: 'completed', target: null, deadline: null });
});

test('a promise is met, missed, or not known', () => {
  const late = { ...outcome, completion: 'expired_during_execution', target_ttft_ms: 50, target_met: true, deadline_ms: 400, deadline_met: false };
  expect(qosWords(late)).toEqual({ served: 'expired during execution', target: '50 ms: met', deadline: '400 ms: missed' });
  const unknown = { ...outcome, completion: null, admission: 'rejected', deadline_ms: 400, degraded: true };
  expect(qosWords(unknown)).toEqual({ served: 'rejected, degraded to a fallback', target: null, deadline: '400 ms: unknown' });
});

import { expect, test } from 'vitest';
import { planPlacement, readPlacement } from './placement';
import type { PlannedAttempt } from './wire';

test('the line of a record is read in its parts', () => {
  const line = 'rack-2: 41 ms (queue 0, prefill 41, 83 % cached, KV 40 %); rack: 1: 268 ms (queue 8, prefill 200, 0 % cached, pressure 50, adapter 10); and 4 more';
  expect(readPlacement(line)).toEqual({
    nodes: [
      { name: 'rack-2', totalMs: 41, parts: [{ name: 'prefill', ms: 41 }], cached: 83, kv: 40 },
      {
        name: 'rack: 1',
        totalMs: 268,
        parts: [
          { name: 'queue', ms: 8 },
          { name: 'prefill', ms: 200 },
          { name: 'pressure', ms: 50 },
          { name: 'adapter', ms: 10 },
        ],
        cached: 0,
        kv: undefined,
      },
    ],
    more: 4,
  });
});

test('a line that says something else is none', () => {
  for (const line of ['', 'and 4 more', 'the node of a later version', 'a: 1 ms (queue 0, prefill 1, 0 % cached); what else']) expect(readPlacement(line), line).toBeUndefined();
});

test('a plan places nodes where there are several', () => {
  const attempt = (name: string, expected_ms: number) =>
    ({ principal: `node_${name}`, display_name: name, placement: { expected_ms, queue_ms: 1, prefill_ms: expected_ms - 1, pressure_ms: 0, adapter_ms: 0, cached_permille: 125, kv_permille: null } }) as PlannedAttempt;
  const own = { principal: 'pcr_1', display_name: 'own' } as PlannedAttempt;
  expect(planPlacement([attempt('a', 9), own])).toBeUndefined();
  expect(planPlacement([attempt('a', 9), attempt('b', 11), own])?.nodes.map(({ id, totalMs, cached, kv }) => [id, totalMs, cached, kv])).toEqual([
    ['node_a', 9, 12, undefined],
    ['node_b', 11, 12, undefined],
  ]);
});

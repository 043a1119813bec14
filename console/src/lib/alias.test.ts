import { expect, test } from 'vitest';
import { measuredWords, parameterLines, readParameters, targetWords } from './alias';

test('targets are told with their shares, or in their order', () => {
  const of = (split: string, ...weights: number[]) => targetWords({ split, targets: weights.map((weight, at) => ({ model: `m${at}`, weight })) });
  expect(of('weighted', 90, 10)).toBe('m0 90%, m1 10%');
  expect(of('weighted', 1, 1, 1)).toBe('m0 33.3%, m1 33.3%, m2 33.3%');
  expect(of('weighted', 7)).toBe('m0');
  expect(of('ordered', 1, 1)).toBe('m0, then m1');
});

test('what was not measured is said', () => {
  const measured = { release_id: 'alr_1', status: 'canary', requests: 40, errors: 1, error_bps: 250, latency_p95_ms: 900, first_byte_p95_ms: null, since: '' };
  expect(measuredWords(measured)).toBe('2.5% of 40 requests failed, p95 900 ms');
  expect(measuredWords({ ...measured, requests: 0 })).toBe('no requests');
  expect(measuredWords(undefined)).toBe('no requests');
});

test('parameters are lines, and back', () => {
  const lines = 'temperature 0..1 0.7 clamp\ntop_p ..0.9';
  const read = readParameters(`${lines}\n\n`);
  expect(read).toEqual({ temperature: { min: 0, max: 1, default: 0.7, clamp: true }, top_p: { min: undefined, max: 0.9, default: undefined, clamp: false } });
  expect(parameterLines(read)).toBe(lines);
});

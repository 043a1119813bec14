import { expect, test } from 'vitest';
import { csv, visible } from './export';
import { pathParameters } from './paths';
import { decimals, sumsUp } from './receipt';
import { length, ownTime, steps } from './waterfall';
import type { Attempt, Timeline } from './wire';

const attempt = (change: Partial<Attempt>): Attempt => ({
  number: 1,
  profile: 'byok',
  principal: 'pcr_1',
  provider: 'openai',
  upstream_model: 'gpt',
  region: null,
  started_us: 75,
  duration_us: 93_460,
  status: 200,
  fault: null,
  hedged: false,
  upstream_request_id: null,
  markup_bps: 0,
  receipt: null,
  input_tokens: 0,
  output_tokens: 0,
  cached_tokens: 0,
  cache_write_tokens: 0,
  reasoning_tokens: 0,
  estimated: false,
  evidence: 'provider_reported',
  cost_micros: 0,
  cost_nanos: 0,
  provider_cost_micros: 0,
  provider_cost_nanos: 0,
  unpriced: false,
  ...change,
});
const timeline: Timeline = { decoded_us: 28, admitted_us: 38, planned_us: 65, intent_us: 143, upstream_head_us: 93_278, first_byte_us: 93_392, settled_us: 93_600 };

test('the steps of a request follow each other and leave no time out', () => {
  const found = steps({ timeline, attempts: [attempt({})], stream: true });
  expect(found.map((step) => step.name)).toEqual(['Read', 'Admit', 'Plan', 'Record', 'Wait', 'Stream', 'Settle']);
  for (const [at, step] of found.entries()) expect(step.from).toBe(at === 0 ? 0 : found[at - 1]?.to);
  expect(found.at(-1)?.to).toBe(93_600);
  expect(ownTime(found)).toBe(143 + (93_600 - 93_535));
  expect(length({ timeline, attempts: [attempt({})] })).toBe(93_600);
});

test('a request that reached nothing has only our own steps', () => {
  const refused: Timeline = { ...timeline, planned_us: 0, intent_us: 0, upstream_head_us: 0, first_byte_us: 0, settled_us: 116 };
  const found = steps({ timeline: refused, attempts: [], stream: false });
  expect(found.map((step) => step.name)).toEqual(['Read', 'Admit', 'Settle']);
});

test('a failed attempt is told before the one that served', () => {
  const first = attempt({ duration_us: 1_000, status: 500, fault: 'upstream' });
  const second = attempt({ number: 2, started_us: 1_200, duration_us: 92_300 });
  const found = steps({ timeline, attempts: [first, second], stream: false });
  expect(found.filter((step) => step.kind !== 'own').map((step) => [step.name, step.kind])).toEqual([
    ['Attempt 1: failed', 'failed'],
    ['Pause before 2', 'pause'],
    ['Attempt 2: wait', 'upstream'],
    ['Attempt 2: answer', 'stream'],
  ]);
});

test('a receipt is checked in nanos', () => {
  const receipt = [
    { class: 'input', tokens: 250, price_micros_per_million: 750_000, nanos: 187_500 },
    { class: 'output', tokens: 1, price_micros_per_million: 300, nanos: 300 },
  ];
  expect(sumsUp(attempt({ receipt, provider_cost_nanos: 187_800 }))).toBe(true);
  expect(sumsUp(attempt({ receipt, provider_cost_nanos: 187_801 }))).toBe(false);
  expect(decimals([187_500, 300, 0])).toBe(7);
});

test('a spreadsheet runs nothing of a CSV', () => {
  expect(csv(['a', 'b'], [['=1+1', 'x,"y"'], [null, 5]])).toBe(`a,b\r\n'=1+1,"x,""y"""\r\n,5\r\n`);
});

test('what would hide or turn text is shown', () => {
  expect(visible('a\u001b[31mb\u202ec\nd\te')).toBe('a␛[31mb⟨U+202E⟩c\nd\te');
});

test('paths are matched by whole segments', () => {
  expect(pathParameters('/requests/:id', '/requests/trc_1')).toEqual(['trc_1']);
  expect(pathParameters('/requests/:id', '/requests/')).toBeUndefined();
  expect(pathParameters('/requests/:id', '/requests/a/b')).toBeUndefined();
  expect(pathParameters('/requests/:id', '/requests/%E0%A4%A')).toEqual(['%E0%A4%A']);
});

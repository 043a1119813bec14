// The lines of a receipt in words, and the check that they add up.

import type { Attempt, ReceiptLine } from './wire';

const LABELS: Record<string, string> = {
  input: 'Input',
  cached_read: 'Input, cached',
  cache_write: 'Cache write',
  cache_write_long: 'Cache write, one hour',
  output: 'Output',
  reasoning: 'Output, reasoning',
  audio_in: 'Audio input',
  audio_out: 'Audio output',
  image_in: 'Image input',
  image_out: 'Image output',
  images: 'Images generated',
  audio_ms: 'Audio, milliseconds',
  searches: 'Searches',
  characters: 'Characters synthesised',
  billed_micro_units: 'Provider units, millionths',
  video_ms: 'Video generated, milliseconds',
  web_searches: 'Web searches',
  file_searches: 'File searches',
  cache_token_hours: 'Cache storage, token-hours',
};

export interface Line extends ReceiptLine {
  label: string;
  amount: number;
}

export function read(attempt: Attempt): Line[] {
  const lines = (attempt.receipt ?? []).map((line) => ({ ...line, label: LABELS[line.class] ?? line.class, amount: line.tokens ?? line.units ?? 0 }));
  return lines.filter((line) => line.amount > 0);
}

export function sumsUp(attempt: Attempt): boolean {
  return (attempt.receipt ?? []).reduce((sum, line) => sum + line.nanos, 0) === attempt.provider_cost_nanos;
}

/** How many decimals the amounts need, so that their points stand below each other. */
export function decimals(amountsNanos: number[]): number {
  return Math.max(2, ...amountsNanos.map((nanos) => 9 - trailingZeros(nanos)));
}

function trailingZeros(amount: number): number {
  if (amount === 0) return 9;
  let zeros = 0;
  for (let rest = amount; rest % 10 === 0; rest /= 10) zeros += 1;
  return Math.min(9, zeros);
}

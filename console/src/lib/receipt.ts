// The lines of a receipt in words, and the check that they add up.

import type { Attempt, ReceiptLine } from './wire';

const LABELS: Record<string, string> = {
  input: 'Input',
  cached_read: 'Input, from the provider’s cache',
  cache_write: 'Written to the cache',
  cache_write_long: 'Written to the cache for an hour',
  output: 'Output',
  reasoning: 'Output, reasoning',
  audio_in: 'Input, sound',
  audio_out: 'Output, sound',
  image_in: 'Input, pictures',
  image_out: 'Output, pictures',
  images: 'Pictures made',
  audio_ms: 'Milliseconds of sound',
  searches: 'Searches',
  characters: 'Characters read aloud',
  billed_micro_units: 'Millionths of the provider’s own unit',
  video_ms: 'Video made, in milliseconds',
  web_searches: 'Searches of the web by the provider',
  file_searches: 'Searches of files by the provider',
  cache_token_hours: 'Tokens stored in a cache, times hours',
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

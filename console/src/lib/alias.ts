// An alias in words.

import { many, percents } from './format';
import type { AliasTarget, Measurement, ParameterRange } from './wire';

/** The targets with their shares, or in their order. */
export function targetWords({ split, targets }: { split: string; targets: AliasTarget[] }): string {
  if (split === 'ordered') return targets.map((target) => target.model).join(', then ');
  const total = targets.reduce((sum, target) => sum + target.weight, 0);
  const share = (weight: number) => percents(Math.round((weight * 1000) / Math.max(total, 1)) / 10);
  return targets.length === 1 ? (targets[0]?.model ?? '') : targets.map((target) => `${target.model} ${share(target.weight)}`).join(', ');
}

/** What was measured of a release, or that nothing was. */
export function measuredWords(measured: Measurement | undefined): string {
  if (!measured || measured.requests === 0) return 'no requests';
  const parts = [`${percents(measured.error_bps / 100)} of ${many(measured.requests, 'request')} failed`];
  if (measured.latency_p95_ms !== null) parts.push(`p95 ${measured.latency_p95_ms} ms`);
  if (measured.first_byte_p95_ms !== null) parts.push(`first byte ${measured.first_byte_p95_ms} ms`);
  return parts.join(', ');
}

/** Ranges of parameters, one a line: `temperature 0..1 0.7 clamp`. */
export function parameterLines(parameters: Record<string, ParameterRange>): string {
  return Object.entries(parameters)
    .map(([name, { min, max, default: usual, clamp }]) => [name, `${min ?? ''}..${max ?? ''}`, usual, clamp ? 'clamp' : undefined].filter((part) => part !== undefined).join(' '))
    .join('\n');
}

/** What such lines say; what is no number is left to the server, whose error names it. */
export function readParameters(lines: string): Record<string, ParameterRange> {
  const number = (text: string | undefined) => (text === undefined || text === '' ? undefined : Number(text));
  const rows = lines.split('\n').map((line) => line.trim().split(/\s+/)).filter(([name]) => name);
  return Object.fromEntries(
    rows.map(([name = '', range = '', ...rest]): [string, ParameterRange] => {
      const [min, max] = range.split('..');
      return [name, { min: number(min), max: number(max), default: number(rest.find((word) => word !== 'clamp')), clamp: rest.includes('clamp') }];
    }),
  );
}

// An alias in words.

import type { AliasTarget, Measurement } from './wire';

/** The targets with their shares, or in their order. */
export function targetWords({ split, targets }: { split: string; targets: AliasTarget[] }): string {
  if (split === 'ordered') return targets.map((target) => target.model).join(', then ');
  const total = targets.reduce((sum, target) => sum + target.weight, 0);
  const share = (weight: number) => `${Math.round((weight * 1000) / Math.max(total, 1)) / 10} %`;
  return targets.length === 1 ? (targets[0]?.model ?? '') : targets.map((target) => `${target.model} ${share(target.weight)}`).join(', ');
}

/** What was measured of a release, or that nothing was. */
export function measuredWords(measured: Measurement | undefined): string {
  if (!measured || measured.requests === 0) return 'no requests';
  const parts = [`${measured.error_bps / 100} % of ${measured.requests} failed`];
  if (measured.latency_p95_ms !== null) parts.push(`p95 ${measured.latency_p95_ms} ms`);
  if (measured.first_byte_p95_ms !== null) parts.push(`first byte ${measured.first_byte_p95_ms} ms`);
  return parts.join(', ');
}

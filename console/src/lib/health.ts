// The health of what serves, in words and in rows.

import type { LearnedLimit, Pacing, Rate, Upstream } from './wire';

/** States in which an upstream takes requests, some of them at least. */
const SERVES = ['ok', 'paced', 'degraded'];

export function summary(upstreams: Upstream[], breakers: number): string {
  const inUse = upstreams.filter((one) => one.status !== 'off');
  const serving = inUse.filter((one) => SERVES.includes(one.status)).length;
  const off = upstreams.length - inUse.length;
  const served = (serving === inUse.length ? `All ${serving} serve` : `${serving} of ${inUse.length} serve`) + (off > 0 ? `, ${off} off` : '');
  return `${served}; ${breakers === 0 ? 'no open breakers' : breakers === 1 ? 'one open breaker' : `${breakers} open breakers`}.`;
}

export interface LimitRow {
  upstream: Upstream;
  /** The model, where the provider told the limit of one. */
  model?: string;
  name: string;
  limit: number;
  left: number;
  /** When the next request may be sent; of what was told, when it is whole again. */
  at: string | null;
  isAgreed: boolean;
}

const AGREED: [keyof Omit<Pacing, 'ready_at'>, string][] = [
  ['requests_per_minute', 'requests per minute'],
  ['requests_per_day', 'requests per day'],
  ['tokens_per_minute', 'tokens per minute'],
  ['concurrent_requests', 'concurrent requests'],
];

/** What was agreed and what providers told, an upstream after the other. */
export function limits(upstreams: Upstream[]): LimitRow[] {
  return upstreams.flatMap((upstream) => {
    const agreed = AGREED.flatMap(([field, name]) => {
      const rate: Rate = upstream.pacing?.[field] ?? null;
      return rate ? [{ upstream, name, ...rate, at: upstream.pacing?.ready_at ?? null, isAgreed: true }] : [];
    });
    const told = upstream.learned_limits.flatMap((one) => {
      const row = (name: string, limit: LearnedLimit | null) => (limit ? [{ upstream, model: one.model, name, limit: limit.limit, left: limit.remaining, at: limit.resets_at, isAgreed: false }] : []);
      return [...row('requests', one.requests), ...row('tokens', one.tokens)];
    });
    return [...agreed, ...told];
  });
}

export interface SpeedRow {
  upstream: Upstream;
  model: string;
  region: string | null;
  inFlight: number;
  firstMs: number | null;
  wholeMs: number | null;
}

/** How busy and how fast each is with each model: by model and region, the fastest of each first. */
export function speeds(upstreams: Upstream[]): SpeedRow[] {
  const rows = upstreams.flatMap((upstream) =>
    upstream.models.map((one) => ({ upstream, model: one.model, region: upstream.region, inFlight: one.in_flight, firstMs: one.first_byte_p50_ms, wholeMs: one.whole_p50_ms })),
  );
  const late = (ms: number | null) => ms ?? Infinity;
  return rows.sort((a, b) => a.model.localeCompare(b.model) || (a.region ?? '').localeCompare(b.region ?? '') || late(a.firstMs) - late(b.firstMs) || 0);
}

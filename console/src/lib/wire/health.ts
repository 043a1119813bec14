// What `/v2` answers of the health of what serves, as far as the console reads it.

import type { LearnedLimits, OpenBreaker } from './credentials';

export interface Health {
  /** Who answered, and among how many. */
  gateway: string;
  gateways: number;
  as_of: string;
  breakers: (OpenBreaker & { upstreams: string[] })[];
  /** For the operator alone. */
  breakers_elsewhere: { host: number; region: number; credential: number; model: number } | null;
  data: Upstream[];
}

export interface Upstream {
  id: string;
  profile: string;
  display_name: string;
  provider: string | null;
  region: string | null;
  status: 'off' | 'unverified' | 'cordoned' | 'draining' | 'unreachable' | 'refused' | 'broken' | 'degraded' | 'failing' | 'paced' | 'ok';
  failures: { failed: number; attempts: number } | null;
  pauses: { model: string | null; reason: string; detail: string; until: string }[];
  pacing: Pacing | null;
  learned_limits: LearnedLimits[];
  models: { model: string; in_flight: number; first_byte_p50_ms: number | null; whole_p50_ms: number | null }[];
}

export type Rate = { limit: number; left: number } | null;

/** One gateway's share of what was agreed. */
export interface Pacing {
  requests_per_minute: Rate;
  requests_per_day: Rate;
  tokens_per_minute: Rate;
  concurrent_requests: Rate;
  ready_at: string | null;
}

// What `/v2` answers of sums of what was used, as far as the console reads it.

import type { Reuse } from '../reuse';

export interface Sums {
  requests: number;
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  cost_micros: number;
  provider_cost_micros: number;
  /** What the workspace pays in all; older servers have none. */
  spend_micros?: number;
  /** Milliseconds of generated video. */
  video_ms?: number;
}

export interface UsageRow extends Sums {
  start?: string;
  reasoning_tokens: number;
  cache_write_tokens: number;
  realized_reused_tokens: number;
  /** Older servers have none. */
  reuse?: Reuse;
  failed_requests: number;
  unattempted_requests: number;
  estimated_requests: number;
  unpriced_requests: number;
  attempts: number;
  provider?: string | null;
  model?: string | null;
  profile?: string | null;
  mode?: string | null;
  key?: string | null;
  project?: string | null;
  region?: string | null;
  environment?: string | null;
  status?: string | null;
  outcome?: string | null;
  operation?: string | null;
  tag?: string | null;
  qos_class?: string | null;
  credential?: string | null;
  node?: string | null;
  cache_tier?: string | null;
  error_code?: string | null;
  account?: string | null;
  end_user?: string | null;
  agent?: string | null;
  adapter?: string | null;
  task?: string | null;
  /** Of `/v2/analytics` alone. */
  latency_us?: Percentiles | null;
  time_to_first_byte_us?: Percentiles | null;
}

export interface Percentiles {
  p50: number;
  p95: number;
  p99: number;
}

export interface AnalyticsRow extends UsageRow {
  success_rate: number | null;
  /** 0 to 1; older servers have none. */
  uptime?: number | null;
  tokens_per_second?: number | null;
  latency_us: Percentiles | null;
  time_to_first_byte_us: Percentiles | null;
}

export interface Usage<Row> {
  start: string;
  end: string;
  data: Row[];
}

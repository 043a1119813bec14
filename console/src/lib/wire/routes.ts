// What `/v2` answers of routes, as far as the console reads it.

/** A part of the week. */
export interface TimeWindow {
  weekdays: string[];
  from: string;
  to: string;
  utc_offset: string;
}

export interface RouteConditions {
  prompt_tokens_min?: number;
  prompt_tokens_max?: number;
  has_tools?: boolean;
  time?: TimeWindow;
  metadata?: Record<string, string>;
  end_user?: string;
}

export interface ModelFallback {
  on: string[];
  model: string;
}

export interface RouteRule {
  id: string;
  scope: Record<string, string>;
  when?: RouteConditions;
  strategy: string;
  profiles: string[];
  providers: string[];
  credential_ids: string[];
  regions: string[];
  node_labels: string[];
  byok_fallback: string;
  fallback_on: string[];
  model_fallbacks?: ModelFallback[];
  overflow?: string;
  emergency?: string;
  hosted_tools?: string;
  head_wait_ms?: number;
  hedge_after_ms?: number;
  priority?: number;
  first_byte_timeout_ms?: number;
  idle_timeout_ms?: number;
  deadline_ms?: number;
  created_at: string;
}

export interface RouteVersion {
  version: number;
  saved_at: string;
  saved_by: string | null;
  changes: { field: string; before: unknown; after: unknown }[];
}

/** What serves a request first, or the error in its place. */
export interface DryRunPlace {
  profile: string | null;
  principal: string | null;
  provider: string | null;
  model: string | null;
  upstream_model: string | null;
  region: string | null;
  error: { code: string; detail: string } | null;
}

/** What a change would have changed for stored requests. */
export interface DryRun {
  requests: { matched: number; compared: number; has_more: boolean };
  changed: number;
  unchanged: number;
  unknown: number;
  moves: { from: DryRunPlace; to: DryRunPlace; requests: number; before_nanos: number; after_nanos: number; unpriced: number; examples: string[] }[];
  refusals: { new: number; gone: number };
  cost: { requests: number; before_nanos: number; after_nanos: number; unpriced: number };
  latency: { requests: number; before_ms: number | null; after_ms: number | null };
  not_replayed: { reason: string; detail: string; requests: number }[];
}

/** What differs between two versions of a route, or two releases of an alias. */
export interface Difference {
  changes: { field: string; before: unknown; after: unknown }[];
  targets?: { model: string; change: string; before: number | null; after: number | null }[];
}

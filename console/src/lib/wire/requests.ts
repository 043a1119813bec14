// What `/v2` answers of requests, one by one, as far as the console reads it.

import type { Reuse } from '../reuse';
import type { ResolvedAlias } from './aliases';
import type { DataPathParty } from './data-path';

/** What a row of the list and the whole request both tell. */
interface Told {
  id: string;
  started_at: string;
  finished_at: string;
  project_id: string;
  key_id: string | null;
  environment: string;
  operation: string;
  dialect: string;
  stream: boolean;
  requested_model: string;
  resolved_model: string | null;
  alias: ResolvedAlias | null;
  outcome: string;
  status: number;
  error_code: string | null;
  /** The id of the budget, policy or route that refused it; older servers have none. */
  refused_by?: string | null;
  profile: string | null;
  principal: string | null;
  provider: string | null;
  fallback_used: boolean;
  tag: string | null;
  /** The agent's session that it named; older servers have none. */
  session_id?: string | null;
  /** A keyed hash of the end user's name; older servers have none. */
  end_user_id?: string | null;
  /** Older servers have none. */
  qos_class?: string | null;
  bytes_out: number;
}

export interface RequestRow extends Told {
  region: string | null;
  attempts: number;
  latency_us: number;
  time_to_first_byte_us: number | null;
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  cost_micros: number;
  provider_cost_micros: number;
  estimated: boolean;
  unpriced: boolean;
}

export interface Metered {
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  cache_write_tokens: number;
  reasoning_tokens: number;
  estimated: boolean;
  evidence: 'provider_reported' | 'runtime_confirmed' | 'router_inferred' | 'unknown';
  cost_micros: number;
  cost_nanos: number;
  provider_cost_micros: number;
  provider_cost_nanos: number;
  unpriced: boolean;
  /** Where it was served at another tier than the standard one. */
  service_tier?: string;
  /** What is counted beside tokens, where there is any. */
  units?: { video_ms: number };
}

export interface ReceiptLine {
  class: string;
  tokens?: number;
  units?: number;
  price_micros_per_million: number;
  nanos: number;
}

export interface Attempt extends Metered {
  number: number;
  profile: string;
  principal: string;
  provider: string;
  upstream_model: string;
  region: string | null;
  started_us: number;
  duration_us: number;
  status: number | null;
  fault: string | null;
  hedged: boolean;
  upstream_request_id: string | null;
  markup_bps: number | null;
  receipt: ReceiptLine[] | null;
}

export interface Rejected {
  principal: string;
  profile: string;
  provider: string | null;
  reason: string;
  detail: string;
}

export interface Timeline {
  decoded_us: number | null;
  admitted_us: number | null;
  planned_us: number | null;
  intent_us: number | null;
  upstream_head_us: number | null;
  first_byte_us: number | null;
  settled_us: number | null;
}

export interface Exchange extends Told, Metered {
  workspace_id: string;
  /** Older servers have none. */
  modality?: string;
  error_class: string | null;
  /** Why it failed or was cut; older servers have none. */
  error?: Reason | null;
  mode: string | null;
  /** Why it went on with another model; older servers have none. */
  model_fallback?: { on: string; detail: string } | null;
  /** Why it left the nodes of its route; older servers have none. */
  left_nodes?: { on: string; detail: string } | null;
  /** Calls of the hooks of policies; older servers have none. */
  hooks?: { at: string; policy: string; place: number; outcome: string; latency_ms: number }[];
  /** Older servers have none. */
  qos_outcome?: QosOutcome | null;
  timeline: Timeline;
  plan: {
    resolution: string | null;
    route_id: string | null;
    candidates: string[];
    /** How the first nodes compared, in words; nothing where there was one to choose from. */
    placement?: string | null;
    rejected: Rejected[];
    snapshot_version: number;
    capability_manifest_revision?: string | null;
  };
  attempts: Attempt[];
  /** Older servers have none. */
  caching?: CachingOfRequest | null;
  /** Older servers have none. */
  reuse?: Reuse | null;
  /** Who saw it; older servers have none. */
  data_path?: DataPathParty[];
  /** How good its answer was found; older servers have none. */
  scores?: Score[];
  /** The search for an answer to a request that means the same. */
  semantic_cache?: SemanticSearch;
  /** What Tidegate made it for; a client's own has none. */
  made_for?: { purpose: string; request_id: string };
}

export interface Score {
  id: string;
  name: string;
  value: number;
  scored_by: string;
  scored_at: string;
}

export interface SemanticSearch {
  outcome: string;
  similarity_bps: number | null;
  embedding_request_id: string;
}

/** How well it was served, beside what its hints stated. */
export interface QosOutcome {
  class: string | null;
  target_ttft_ms: number | null;
  deadline_ms: number | null;
  admission: string;
  completion: string | null;
  target_met: boolean | null;
  ttft_ms: number | null;
  latency_ms: number;
  deadline_met: boolean | null;
  degraded: boolean;
  fallback_used: boolean;
  reason_code: string | null;
}

export interface Reason {
  message: string;
  fix: string | null;
  param: string | null;
  refused_by: { object: string; id: string } | null;
}

/** What was done for the provider's cache of prompts, or would have been. */
export interface CachingOfRequest {
  state: 'applied' | 'suggested';
  breakpoints: number;
  key: boolean;
  /** Older servers have none. */
  context_cache?: boolean;
  /** Older servers have none. */
  refreshes?: number;
  saved_tokens: number | null;
  evidence: string;
}

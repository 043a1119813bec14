// What `/v2` answers of plans, as far as the console reads it.

import type { Rejected } from './requests';

export interface Plan {
  requested_model: string;
  modality: string;
  environment: string;
  resolved_model: string | null;
  resolution: string | null;
  route: { id: string; scope: Record<string, string>; why: string; strategy: string; order: string | null } | null;
  attempts: PlannedAttempt[];
  rejected: Rejected[];
  /** What it goes on with after a stated failure; older servers have none. */
  model_fallbacks?: { model: string; on: string[]; attempts: PlannedAttempt[]; error: { detail: string } | null }[];
  too_long?: string | null;
  /** Who would work through a new batch; older servers don't say. */
  batch?: { execution: 'gateway' | 'provider'; reason: string | null; why: string | null; models: { upstream_model: string; price_percent: number | null }[] } | null;
  /** What the request performs, where a request was planned. */
  operation?: string | null;
  /** Nothing for a model alone: a request's tokens decide. Older servers have neither of both. */
  cheaper?: OtherCandidates | null;
  faster?: OtherCandidates | null;
  error: { code: string; detail: string; status?: number; field?: string | null } | null;
}

/** The most that a request would cost, in nano-USD. */
export interface PlannedPrice {
  total_nanos: number;
  input_nanos: number;
  output_nanos: number;
  input_tokens: number;
  output_tokens: number;
  billed_by: 'operator' | 'provider' | 'nobody';
}

/** What could serve a request as well, and why there are no more of them. */
export interface OtherCandidates {
  data: OtherCandidate[];
  note: string | null;
}

export interface OtherCandidate {
  profile: string;
  principal: string;
  display_name: string | null;
  provider: string;
  price: PlannedPrice | null;
  first_byte_ms: number | null;
  reason: string;
  detail: string;
}

export interface PlannedAttempt {
  profile: string;
  principal: string;
  display_name: string | null;
  provider: string;
  upstream_model: string;
  region: string | null;
  pricing: { input_micros_per_million: number; output_micros_per_million: number; cached_input_micros_per_million: number | null } | null;
  markup_bps: number | null;
  fallback: boolean;
  price?: PlannedPrice | null;
  first_byte_ms?: number | null;
  /** What is expected of a node, where there are several; older servers have none. */
  placement?: PlannedPlacement | null;
  /** The request's parameters that it would not be sent, and why it can't be asked; older servers have neither. */
  dropped_params?: string[];
  error?: { detail: string } | null;
}

export interface PlannedPlacement {
  expected_ms: number;
  queue_ms: number;
  prefill_ms: number;
  pressure_ms: number;
  adapter_ms: number;
  cached_permille: number;
  kv_permille: number | null;
}

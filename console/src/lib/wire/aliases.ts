// What `/v2` answers of aliases and their releases, as far as the console reads it.

export interface AliasTarget {
  model: string;
  weight: number;
}

/** The range of a parameter, and its value where a request sets none. */
export interface ParameterRange {
  min?: number;
  max?: number;
  default?: number;
  clamp?: boolean;
}

export interface ModelAlias {
  id: string;
  name: string;
  project_id: string | null;
  description: string;
  split: string;
  targets: AliasTarget[];
  /** Older servers have none. */
  parameters?: Record<string, ParameterRange>;
  note: string;
  release_id: string;
  release_number: number;
  previous_release_id: string | null;
  canary: {
    release_id: string;
    percent: number;
    error_bps_max: number;
    latency_p95_ms_max: number | null;
    first_byte_p95_ms_max: number | null;
    requests_min: number;
    window_s: number;
    started_at: string;
  } | null;
  withdrawn_canary: { release_id: string; percent: number; reason: string; automatic: boolean; withdrawn_at: string } | null;
  created_at: string;
}

export interface AliasRelease {
  id: string;
  alias_id: string;
  number: number;
  status: string;
  split: string;
  targets: AliasTarget[];
  parameters?: Record<string, ParameterRange>;
  note: string;
  /** Older servers have none. */
  capability_manifest_revision?: string | null;
  created_at: string;
}

export interface Measurement {
  release_id: string;
  status: string;
  requests: number;
  errors: number;
  error_bps: number;
  latency_p95_ms: number | null;
  first_byte_p95_ms: number | null;
  since: string;
}

/** The alias that a request named, and what it pointed at. */
export interface ResolvedAlias {
  name: string;
  release_id: string;
  chosen: string;
  target: number;
  targets: number;
}

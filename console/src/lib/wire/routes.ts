// What `/v2` answers of routes, as far as the console reads it.

export interface RouteConditions {
  prompt_tokens_min?: number;
  prompt_tokens_max?: number;
  has_tools?: boolean;
  time?: { weekdays: string[]; from: string; to: string; utc_offset: string };
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
  head_wait_ms?: number;
  hedge_after_ms?: number;
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

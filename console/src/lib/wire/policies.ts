// What `/v2` answers of policies, as far as the console reads it.

export interface PolicyLimits {
  max_output_tokens?: number;
  max_input_tokens?: number;
  max_cost_micros?: number;
  max_duration_ms?: number;
}

export interface Policy {
  id: string;
  project_id: string | null;
  workspace: boolean;
  allowed_providers: string[];
  allowed_models: string[];
  allowed_regions: string[];
  region_policy: string;
  data_boundary: string;
  profiles: string[];
  retention: 'zero' | { days: number } | null;
  compliance: string[];
  limits: PolicyLimits;
  required_metadata: string[];
  allowed_tools?: string[];
  allowed_hosted_tools?: string[];
  allowed_file_kinds?: string[];
  parameters: Record<string, PolicyParameter>;
  checks: PolicyCheck[];
  hooks: PolicyHook[];
  created_at: string;
}

export interface PolicyParameter {
  default?: number;
  min?: number;
  max?: number;
  clamp: boolean;
}

export interface PolicyCheck {
  detect: string;
  pattern?: string;
  words?: string[];
  action: string;
  direction: string;
  restore: boolean;
}

export interface PolicyHook {
  at: string;
  url: string;
  timeout_ms: number;
  on_silence: string;
  content: boolean;
}

/** What several policies allow together: null allows everything, an empty list nothing. */
export interface EffectivePolicy {
  project_id: string;
  policy_ids: string[];
  allowed_providers: string[] | null;
  allowed_models: string[] | null;
  allowed_regions: string[] | null;
  data_boundary: string;
  profiles: string[] | null;
  retention: 'zero' | { days: number } | null;
  compliance: string[];
  limits: PolicyLimits;
  required_metadata: string[];
  allowed_tools: string[] | null;
  allowed_hosted_tools: string[] | null;
  allowed_file_kinds: string[] | null;
  hooks: PolicyHook[];
}

/** A row of `/v2/analytics/refusals`. */
export interface PolicyRefusals {
  start?: string;
  project_id: string;
  policy_id: string;
  rule: string | null;
  requests: number;
}

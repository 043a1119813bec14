// What `/v2` answers of credentials, subscriptions and accounts, and what is known of them, as far as the console reads it.

export interface ServerFact {
  name: string;
  /** Nothing where it is unverified. */
  value: boolean | string | null;
  evidence: string;
  at: string | null;
}

/** What is known of a compatible server. */
export interface Server {
  probed_at: string | null;
  model: string | null;
  error: string | null;
  facts: ServerFact[];
}

export interface LearnedLimit {
  limit: number;
  remaining: number;
  resets_at: string;
}

export interface LearnedLimits {
  model: string;
  requests: LearnedLimit | null;
  tokens: LearnedLimit | null;
  told_at: string;
}

/** A circuit breaker that keeps requests from going there. */
export interface OpenBreaker {
  level: 'host' | 'region' | 'credential' | 'model';
  name: string;
  state: 'open' | 'half_open';
  until: string;
  /** Older servers have none of these. */
  since?: string;
  openings?: number;
  detail?: string;
}

/** In micro-USD for a million tokens. */
export interface OwnRates {
  input: number;
  output: number;
  cached_input?: number;
}

/** What the owner of a credential or an account states of its contract with the provider. */
export interface Agreement {
  limits: Record<string, number>;
  /** Nothing where it is not known. */
  retention: 'zero' | { days: number } | null;
  commitment: { amount_micros: number; period: string } | null;
  compliance: string[];
  pricing: Record<string, OwnRates>;
}

export interface Credential extends Agreement {
  id: string;
  provider: string;
  display_name: string;
  auth: string;
  status: string;
  over_quota_until: string | null;
  learned_limits: LearnedLimits[];
  breakers: OpenBreaker[];
  secret_fingerprint: string;
  secret_version: number;
  base_url: string | null;
  region: string | null;
  scope: { project_id: string | null; environment: string | null };
  expires_at: string | null;
  last_verified_at: string | null;
  last_error: string | null;
  /** Nothing where the provider itself is known. */
  server: Server | null;
  created_at: string;
  openings?: number;
}

/** A vendor's subscription. */
export interface Subscription {
  id: string;
  provider: string;
  product: string;
  display_name: string;
  plan: string | null;
  status: string;
  token_fingerprint: string;
  token_version: number;
  renews: boolean;
  windows: { hours: number; requests?: number; tokens?: number }[];
  window_use: { requests: number; tokens: number; resets_at: string }[];
  expires_at: string | null;
  last_error: string | null;
}

/** One of the operator's own, pooled. */
export interface Account extends Agreement {
  id: string;
  provider: string;
  display_name: string;
  auth: string;
  status: string;
  secret_fingerprint: string;
  secret_version: number;
  base_url: string | null;
  region: string | null;
  learned_limits: LearnedLimits[];
  breakers: OpenBreaker[];
  models: string[] | null;
  weight: number;
  markup_bps: number;
  allow_unpriced: boolean;
  last_verified_at: string | null;
  last_error: string | null;
  created_at: string;
}

export interface CredentialKind {
  provider: string;
  display_name: string;
  auth: string;
  title: string;
  says: string;
  is_host_identity: boolean;
  permission: string | null;
  available: boolean;
  custom: boolean;
  base_url: string | null;
  base_url_example: string | null;
  environment_variable: string | null;
  schema: { required?: string[]; properties?: Record<string, { type?: string; title?: string; description?: string; writeOnly?: boolean; enum?: string[]; examples?: string[] }> };
}

// What `/v2` answers, as far as the console reads it.

import type { Reuse } from './reuse';

export interface Sums {
  requests: number;
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  cost_micros: number;
  provider_cost_micros: number;
  /** What the workspace pays in all; older servers have none. */
  spend_micros?: number;
  /** Milliseconds of film that was made. */
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
  credential?: string | null;
  node?: string | null;
}

export interface CallableModel {
  id: string;
  owned_by: string;
  modality: string | null;
}

export interface Percentiles {
  p50: number;
  p95: number;
  p99: number;
}

export interface AnalyticsRow extends UsageRow {
  success_rate: number | null;
  latency_us: Percentiles | null;
  time_to_first_byte_us: Percentiles | null;
}

export interface Usage<Row> {
  start: string;
  end: string;
  data: Row[];
}

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
  profile: string | null;
  principal: string | null;
  provider: string | null;
  fallback_used: boolean;
  tag: string | null;
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
  timeline: Timeline;
  plan: {
    resolution: string | null;
    route_id: string | null;
    candidates: string[];
    rejected: Rejected[];
    snapshot_version: number;
  };
  attempts: Attempt[];
  /** Older servers have none. */
  caching?: CachingOfRequest | null;
  /** Older servers have none. */
  reuse?: Reuse | null;
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
  saved_tokens: number | null;
  evidence: string;
}

export interface CachePolicy {
  managed?: string;
  byok?: string;
  /** Our own cache of whole answers. */
  responses?: { mode?: string; ttl_s?: number };
}

export interface Workspace {
  id: string;
  name: string;
  /** Older servers have none. */
  caching?: CachePolicy;
}

export interface ApiKey {
  id: string;
  name: string;
  project_id: string;
  environment: string;
  scopes: string[];
  last4: string;
  status: string;
  ip_allowlist: string[];
  /** Older servers have none. */
  limits?: { requests_per_minute?: number | null; tokens_per_minute?: number | null; concurrent_streams?: number | null };
  expires_at: string | null;
  revoked_at: string | null;
  created_at: string;
  /** Of a key with access keys, the secret in the answer that made it alone. */
  aws?: { access_key_id: string; secret_access_key?: string };
  key?: string;
}

export interface Project {
  id: string;
  name: string;
  environment: string;
  caching?: CachePolicy;
  created_at: string;
}

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

export interface ComputeNode {
  id: string;
  name: string;
  base_url: string;
  status: string;
  models: string[];
  models_declared: boolean;
  labels: string[];
  has_secret: boolean;
  last_seen_at: string | null;
  last_error: string | null;
  /** Where it joined by itself; older servers don't tell. */
  joined?: NodeJoined | null;
  server: Server;
  created_at: string;
}

/** How a node that joined is. */
export interface NodeJoined {
  joined_at: string;
  revoked_at: string | null;
  last_heartbeat_at: string | null;
  said: NodeSaid | null;
}

/** What a node says of itself with each heartbeat. */
export interface NodeSaid {
  version: string;
  runtime: string;
  device: string | null;
  load: { running: number; waiting: number; cache_bytes: number; cache_bytes_max: number };
}

/** One answer of a node, by its own count. */
export interface NodeUsage {
  event_id: string;
  /** The gateway's request that it was given for. */
  request_id: string | null;
  model: string;
  adapter: string | null;
  operation: string;
  end: string;
  started_at: string;
  took_ms: number;
  input_tokens: number;
  cached_tokens: number;
  output_tokens: number;
  is_measured: boolean;
}

/** What lets one node in, once. */
export interface JoinToken {
  name: string;
  token: string;
  expires_at: string;
}

/** What a node that is a runtime of ours says of itself. */
export interface Runtime {
  node_id: string;
  node: string;
  status: string;
  runtime: string;
  version: string;
  topology: string;
  execution_modes: string[];
  is_local_only: boolean;
  models: { id: string; context_tokens: number | null; is_model: boolean }[];
  adapters: RuntimeAdapters | null;
  requests_open: number | null;
}

export interface RuntimeAdapters {
  registered: number;
  max_registered: number;
  loaded_loras: string[];
  max_active_loras: number;
  loaded_bytes: number;
  max_loaded_bytes: number;
  max_lora_rank: number;
}

export interface Adapter {
  id: string;
  node_id: string;
  node: string;
  status: string;
  generation: number;
  rank: number;
  bytes: number;
  pinned: boolean;
  in_use: number;
  error: string | null;
}

/** A runtime that could not be asked: what is listed lacks what it has. */
export interface RuntimeAway {
  node_id: string;
  node: string;
  code: string;
  message: string;
}

/** What several runtimes said, and who of them did not. */
export interface Gathered<T> {
  data: T[];
  away: RuntimeAway[];
}

export interface TrainProgress {
  step: number;
  of: number;
  loss: number;
  held_out_loss: number | null;
  learning_rate: number;
  tokens: number;
  seconds: number;
}

export interface TrainOutlook {
  texts: number;
  held_out_texts: number;
  tokens: number;
  learned_tokens: number;
  longest_text_tokens: number;
  steps: number;
  parameters: number;
  memory_bytes: number;
}

export interface TrainJob {
  id: string;
  node_id: string;
  node: string;
  status: string;
  model: string;
  adapter: string;
  result: string | null;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  settings: Record<string, unknown>;
  outlook: TrainOutlook | null;
  progress: TrainProgress | null;
  error: { code: string; message: string; param: string | null } | null;
}

export interface TrainPreview {
  model: string;
  outlook: TrainOutlook;
}

/** What an event of its kind does not say is not there. */
export interface TrainEvent {
  at: string;
  sequence: number;
  kind: string;
  step?: number;
  of?: number;
  loss?: number;
  held_out_loss?: number;
  learning_rate?: number;
  tokens?: number;
  is_checkpoint?: boolean;
  /** Where it is the end of an epoch that is kept as a model. */
  checkpoint_model?: string;
  model?: string;
  message?: string;
}

/** What a job was at the end of an epoch. */
export interface TrainCheckpoint {
  step: number;
  created_at: string;
  model: string;
  loss: number;
  held_out_loss: number | null;
}

export interface TrainEvents {
  data: TrainEvent[];
  next: number;
}

export interface RouteConditions {
  prompt_tokens_min?: number;
  prompt_tokens_max?: number;
  has_tools?: boolean;
  time?: { weekdays: string[]; from: string; to: string; utc_offset: string };
  metadata?: Record<string, string>;
  end_user?: string;
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
  overflow?: string;
  emergency?: string;
  head_wait_ms?: number;
  hedge_after_ms?: number;
  first_byte_timeout_ms?: number;
  idle_timeout_ms?: number;
  deadline_ms?: number;
  created_at: string;
}

export interface AliasTarget {
  model: string;
  weight: number;
}

export interface ModelAlias {
  id: string;
  name: string;
  project_id: string | null;
  description: string;
  split: string;
  targets: AliasTarget[];
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
  note: string;
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

export interface RouteVersion {
  version: number;
  saved_at: string;
  saved_by: string | null;
  changes: { field: string; before: unknown; after: unknown }[];
}

export interface Plan {
  requested_model: string;
  modality: string;
  environment: string;
  resolved_model: string | null;
  resolution: string | null;
  route: { id: string; scope: Record<string, string>; why: string; strategy: string; order: string | null } | null;
  attempts: PlannedAttempt[];
  rejected: Rejected[];
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
}

/** Micro-USD for a million tokens. */
export interface Prices {
  input_micros_per_million: number;
  output_micros_per_million: number;
  cached_input_micros_per_million: number | null;
  cache_write_micros_per_million: number | null;
  cache_write_long_micros_per_million: number | null;
}

export interface PricedOffer {
  provider: string;
  upstream_model: string;
  regions: string[];
  /** Nothing where nobody read a price. */
  price: Prices | null;
  long_prompt: { above_tokens: number; price: Prices } | null;
  /** What other tiers than the standard one cost: a share of its price, or prices of their own. */
  tiers: { tier: string; percent: number | null; price: Prices | null; source: string; checked: string; as_of: string | null; third_hand: boolean }[];
  source: string;
  /** The day it was read there. */
  checked: string;
  /** The day that the source itself is of, where it says one. */
  as_of: string | null;
  /** The source repeats what it read at the seller's. */
  third_hand: boolean;
  until: string | null;
}

export interface PricedModel {
  model: string;
  modality: string;
  context_tokens: number | null;
  output_tokens_max: number | null;
  offers: PricedOffer[];
}

export interface PriceBook {
  revision: string;
  data: PricedModel[];
}

export type FactValue = boolean | number | string | string[];

/** One thing that is known, or known to be unverified. */
export interface Fact {
  value?: FactValue;
  source: string;
  checked?: string;
}

export type Facts = Record<string, Fact>;

export interface ProviderManifest {
  provider: string;
  facts: Facts;
  /** In what some models differ; a name that ends with `*` stands for all that begin so. */
  models: { names: string[]; facts: Facts }[];
}

export interface CapabilityManifest {
  revision: string;
  data: ProviderManifest[];
}

export interface BillingSnapshot {
  period_start: string;
  period_end: string;
  mtd: Sums & { by_mode: (Sums & { mode: string })[] };
  /** What older servers don't tell: everything owed, with base and acts. */
  monthly_base_micros?: number;
  acts_micros?: number;
  owed_micros?: number;
  unmetered_event_count: number;
  unpriced_event_count: number;
}

export interface Invoice {
  id: string;
  status: string;
  period_start: string;
  period_end: string;
  adjustment_micros: number;
  credit_micros: number;
  total_micros: number;
  finalised_at: string | null;
}

export interface InvoiceLine {
  kind: string;
  description: string;
  profile: string | null;
  model: string | null;
  quantity: number;
  included: number;
  price_micros: number | null;
  amount_micros: number;
  requests: number;
  provider_cost_micros: number;
  unpriced_requests: number;
}

export interface Webhook {
  id: string;
  url: string;
  description: string;
  events: string[];
  status: string;
  disabled_reason: string | null;
  secrets: { fingerprint: string; expires_at: string | null }[];
  created_at: string;
  /** Shown once. */
  secret?: string;
}

export interface Delivery {
  event_id: string;
  type: string;
  status: string;
  attempts: number;
  last_status: number | null;
  last_error: string | null;
  attempted_at: string | null;
  created_at: string;
}

export interface AuditEntry {
  id: string;
  at: string;
  actor: string;
  action: string;
  target: string | null;
  detail: string;
  request_id: string | null;
  /** Its place in the chain, and the chain's hash there. */
  sequence?: number | null;
  hash?: string | null;
}

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
}

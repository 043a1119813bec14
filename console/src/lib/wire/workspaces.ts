// What `/v2` answers of a workspace, its projects, keys and audit, as far as the console reads it.

export interface CachePolicy {
  managed?: string;
  byok?: string;
  keep_alive?: boolean;
  /** Our own cache of whole answers. */
  responses?: { mode?: string; ttl_s?: number; semantic?: { model?: string; min_similarity_bps?: number } };
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
  origins?: string[];
  priority?: number | null;
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
  /** Older servers have none. */
  origins?: string[];
  caching?: CachePolicy;
  created_at: string;
}

export interface AuditEntry {
  id: string;
  at: string;
  actor: string;
  action: string;
  target: string | null;
  detail: string;
  /** The action and the detail in words. */
  sentence?: string | null;
  request_id: string | null;
  /** Its place in the chain, and the chain's hash there. */
  sequence?: number | null;
  hash?: string | null;
}

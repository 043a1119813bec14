// What `/v2/data-planes` answers.

export interface DataPlane {
  id: string;
  name: string;
  status: 'invited' | 'expired' | 'joined' | 'revoked';
  applied_version: number | null;
  /** Ahead: it has changes that a control plane lost when it was restored from a backup. Null before it has a configuration. */
  configuration: 'current' | 'behind' | 'ahead' | null;
  is_current: boolean;
  last_seen_at: string | null;
  /** Of Tidegate. */
  program_version: string | null;
  signing_key_fingerprint: string | null;
  token_expires_at: string | null;
  created_at: string;
  joined_at: string | null;
  revoked_at: string | null;
}

export interface DataPlaneToken {
  id: string;
  name: string;
  token: string;
  expires_at: string;
}

/** Something that a data plane signed. */
export interface DataPlaneEvidence {
  kind: string;
  of: string;
  received_at: string;
  document: Record<string, unknown>;
}

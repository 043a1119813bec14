// What `/v2/purge-jobs` answers.

export interface PurgeScope {
  workspace: boolean;
  project_id: string | null;
  key_id: string | null;
  request_ids: string[];
  from: string | null;
  to: string | null;
  session_id: string | null;
  artifact_ids: string[];
  /** Those of an erasure. */
  session_ids: string[];
  /** Older servers have none. */
  end_user_id?: string | null;
}

export interface PurgePlace {
  place: string;
  holds: string;
  processor: string;
  kind: string;
  before: number;
  status: 'pending' | 'purged' | 'failed';
  tries: number;
  error: string | null;
}

export interface PurgeJob {
  id: string;
  status: 'pending' | 'running' | 'completed' | 'failed';
  scope: PurgeScope;
  places: PurgePlace[];
  error: string | null;
  requested_by: string;
  created_at: string;
  completed_at: string | null;
  receipt: string | null;
}

export interface PurgeReceiptLine {
  place: string;
  processor: string;
  kind: string;
  status: 'cleared' | 'expires' | 'failed';
  before: number;
  after: number | null;
  guarantee: string;
  evidence: string;
  retention_days: number | null;
  error: string | null;
}

export interface PurgeReceipt {
  id: string;
  guarantee: string;
  complete: boolean;
  public_key: string;
  fingerprint: string;
  signature: string;
  processors: PurgeReceiptLine[];
  stated: { place: string; statement: string }[];
}

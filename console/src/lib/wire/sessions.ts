// Sessions of agents, as `/v2/sessions` answers them.

export interface Session {
  id: string;
  project_id: string;
  name: string | null;
  end_user: string | null;
  metadata: Record<string, string>;
  base_bundle_ids: string[];
  default_branch_id: string;
  status: 'active' | 'archived';
  ttl_seconds: number | null;
  created_at: string;
  used_at: string;
  expires_at: string | null;
}

export interface Branch {
  id: string;
  name: string;
  version: number;
  head_event_id: string | null;
  forked_from_branch_id: string | null;
  forked_at_version: number | null;
  created_at: string;
}

export interface SessionEvent {
  id: string;
  event_type: string;
  branch_id: string;
  version: number;
  payload_ref: string | null;
  content_bytes: number | null;
  content?: unknown;
  request_id: string;
  created_at: string;
}

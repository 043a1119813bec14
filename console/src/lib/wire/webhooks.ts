// What `/v2` answers of webhooks, as far as the console reads it.

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

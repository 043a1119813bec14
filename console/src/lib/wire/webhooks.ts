// What `/v2` answers of webhooks, as far as the console reads it.

import type { TimeWindow } from './routes';

export interface Webhook {
  id: string;
  format: 'standard' | 'slack' | 'email';
  /** For Slack, without its path; for mail, `mailto:` with the member's address. */
  url: string;
  description: string;
  /** The part of the week in which events wait. */
  quiet_hours: TimeWindow | null;
  events: string[];
  status: string;
  disabled_reason: string | null;
  secrets: { fingerprint: string; expires_at: string | null }[];
  created_at: string;
  /** Shown once, by `standard` alone. */
  secret?: string | null;
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

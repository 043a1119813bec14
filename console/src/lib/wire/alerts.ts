// What `/v2` answers of alert rules and of what needs attention, as far as the console reads it.

export type AlertMetric = 'spend_micros' | 'requests' | 'refused_requests' | 'error_percent' | 'latency_p95_ms' | 'first_byte_p95_ms';

export interface AlertRule {
  id: string;
  name: string;
  metric: AlertMetric;
  threshold: number;
  window_minutes: number;
  requests_min: number;
  project_id: string | null;
  key_id: string | null;
  model: string | null;
  provider: string | null;
  status: 'active' | 'disabled';
  firing_since: string | null;
  last_fired_at: string | null;
  /** Nothing where there were too few requests, or none was made yet. */
  value: number | null;
  measured_at: string | null;
}

/** One row of `/v2/attention`. */
export interface Attention {
  kind: string;
  severity: 'error' | 'warning';
  subject_id: string | null;
  subject_name: string | null;
  message: string;
  link: string;
}

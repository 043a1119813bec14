// What `/v2/replay-runs` answers.

export type ReplayVerdict = 'passed' | 'failed' | 'inconclusive';

export interface ReplayRun {
  id: string;
  status: 'queued' | 'running' | 'completed' | 'failed' | 'cancelled';
  verdict: ReplayVerdict | null;
  error: string | null;
  from: { since: string; until: string; project_id: string | null; model: string | null; alias: string | null; requests_max: number };
  candidate: { node_id: string | null; model: string; cost_per_hour_micros: number | null };
  content: 'kept' | 'synthetic';
  requests: number | null;
  matched: number | null;
  ended: number | null;
  scheduled_for: string;
  expires_at: string | null;
  created_at: string;
}

export interface ReplayPercentile {
  percent: number;
  value_us: number;
  low_us: number;
  high_us: number;
}

export interface ReplayTimes {
  requests: number;
  baseline: ReplayPercentile[];
  candidate: ReplayPercentile[];
}

export interface ReplayReport {
  id: string;
  verdict: ReplayVerdict;
  results: { gate: string; verdict: ReplayVerdict; limit: number; measured: number | null; low: number | null; high: number | null; reason: string }[];
  requests: { sent: number; errors: number };
  first_token: ReplayTimes;
  total: ReplayTimes;
  fingerprint: string;
}

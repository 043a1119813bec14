// What `/v2/reconciliations` answers.

export interface ReconciledSide {
  lines: number;
  quantity: number;
  cost_micros: number;
}

export interface ReconciledKind {
  kind: 'matched' | 'late' | 'estimate' | 'rounding' | 'price_differs' | 'missing' | 'extra' | 'credit';
  explained: boolean;
  lines: number;
  quantity: number;
  cost_micros: number;
}

export interface ReconciledDifference {
  kind: 'price_differs' | 'missing' | 'extra';
  from: string;
  until: string;
  model: string | null;
  service_tier: string | null;
  measure: string;
  their_quantity: number | null;
  our_quantity: number | null;
  quantity: number;
  their_cost_micros: number | null;
  our_cost_micros: number | null;
  cost_micros: number;
  their_price_micros_per_million: number | null;
  our_price_micros_per_million: number | null;
  price_source: string | null;
  upstream_request_id: string | null;
  attempts: number;
  unmetered_attempts: number;
  request_ids: string[];
}

export interface Reconciliation {
  id: string;
  created_at: string;
  provider: string;
  scope: 'workspace' | 'accounts';
  from: string;
  until: string;
  bucket_seconds: number | null;
  files: { name: string | null; format: string; format_source: string; lines: number; skipped: number }[];
  theirs: ReconciledSide;
  ours: ReconciledSide;
  requests_by_id: number;
  unmetered_attempts: number;
  kinds: ReconciledKind[];
  unexplained_ppm: number;
  tolerance_ppm: number;
  reconciled: boolean;
  differences: ReconciledDifference[];
  differences_left_out: number;
}

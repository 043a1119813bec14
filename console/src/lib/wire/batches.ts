// What `/v2/batches` answers.

export interface BatchRequests {
  total: number;
  waiting: number;
  succeeded: number;
  failed: number;
  cancelled: number;
  expired: number;
}

export interface Batch {
  id: string;
  dialect: string;
  project_id: string;
  execution: 'gateway' | 'provider';
  credential_id: string | null;
  status: 'in_progress' | 'cancelling' | 'completed' | 'cancelled' | 'expired' | 'failed';
  requests: BatchRequests | null;
  /** Null where nothing is booked yet. */
  cost_micros: number | null;
  cost_nanos: number | null;
  provider_cost_micros: number | null;
  provider_cost_nanos: number | null;
  created_at: string;
  expires_at: string | null;
  cancelled_at: string | null;
  ended_at: string | null;
}

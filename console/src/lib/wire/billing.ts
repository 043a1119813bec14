// What `/v2` answers of bills and invoices, as far as the console reads it.

import type { Sums } from './usage';

export interface BillingSnapshot {
  period_start: string;
  period_end: string;
  mtd: Sums & { by_mode: (Sums & { mode: string })[] };
  /** What older servers don't tell: everything owed, with base and acts. */
  monthly_base_micros?: number;
  acts_micros?: number;
  owed_micros?: number;
  /** What is owed, and what the workspace's own providers bill it. */
  spend_micros: number;
  unmetered_event_count: number;
  unpriced_event_count: number;
}

export interface Invoice {
  id: string;
  status: string;
  period_start: string;
  period_end: string;
  adjustment_micros: number;
  credit_micros: number;
  total_micros: number;
  finalised_at: string | null;
}

export interface InvoiceLine {
  kind: string;
  description: string;
  profile: string | null;
  model: string | null;
  quantity: number;
  included: number;
  price_micros: number | null;
  amount_micros: number;
  requests: number;
  provider_cost_micros: number;
  unpriced_requests: number;
}

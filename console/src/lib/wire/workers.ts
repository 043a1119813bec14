// What `/v2/workers` answers.

export interface Worker {
  id: string;
  node_id: string;
  node: string;
  provider: string;
  status: string;
  spec: unknown;
  env: string[];
  address: string | null;
  steps: { name: string; status: string; started_at: string; took_ms: number | null; message: string | null }[];
  error: string | null;
  created_at: string;
  running_at: string | null;
  ended_at: string | null;
  idle_minutes: number | null;
  cost: { nano_usd_per_hour: number; stated_by: string; spent_nano_usd: number } | null;
}

export interface WorkerLog {
  id: string;
  node_id: string;
  log: string;
}

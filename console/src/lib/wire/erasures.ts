// What `/v2/deletion-requests` answers.

import type { PurgePlace } from './purges';

export interface Erasure {
  id: string;
  status: 'pending' | 'running' | 'completed' | 'failed';
  places: PurgePlace[];
  erased: { sessions: number | null; items: number; usage_events: number; namespace_generation: number | null };
  retained: { what: string; reason: string }[];
  error: string | null;
  purge_job_id: string;
  created_at: string;
  completed_at: string | null;
  receipt: string | null;
}

// Stored hints, as `/v2/agent-hints` answers them.

export interface HintedQos {
  class?: string | null;
  target_ttft_ms?: number | null;
  deadline_ms?: number | null;
  priority?: number | null;
  degrade_policy?: string | null;
}

export interface StoredHints {
  id: string;
  name?: string;
  tag?: string;
  qos?: HintedQos;
  reuse?: { preference?: string | null; scope?: string | null };
  routing?: { region_policy?: string | null; execution_profiles?: string[] | null; data_boundary?: string | null };
  not_honoured: string[];
  created_at: string;
}

// What projects keep of their requests, and what they kept.

export type TraceMode = 'metadata' | 'tokenized' | 'encrypted_full_fidelity';

export interface RetentionProfile {
  project_id: string;
  trace_mode: TraceMode;
  default_retention_days: number;
  sample_percent: number;
  /** A policy may overrule the profile. */
  effective_trace_mode: TraceMode;
  changed_by: string | null;
  changed_at: string | null;
}

export interface KeptBody {
  media_type: string;
  bytes: number;
  truncated: boolean;
  content: unknown;
  content_base64: string | null;
}

/** A message in the chat format. */
export interface ChatMessage {
  role: string;
  content?: unknown;
  name?: string;
  tool_call_id?: string;
  tool_calls?: { id?: string; function?: { name: string; arguments: string } }[];
}

export interface RequestContent {
  trace_mode: TraceMode;
  status: number;
  complete: boolean;
  expires_at: string;
  request: KeptBody;
  answer: KeptBody | null;
  messages: ChatMessage[] | null;
}

export interface ReplaySide {
  request_id: string;
  model: string;
  status: number;
  text: string | null;
  error_code: string | null;
  input_tokens: number;
  output_tokens: number;
  cost_nanos: number;
  latency_us: number;
}

export interface Replay {
  same: boolean;
  baseline: ReplaySide;
  candidate: ReplaySide;
  diff: { change: 'same' | 'removed' | 'added'; text: string }[];
}

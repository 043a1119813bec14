// Flows and their runs, as /v2/flows and /v2/flow-runs write them.

export interface FlowNode {
  id: string;
  kind: string;
  needs: string[];
  depth: number;
}

export interface Flow {
  id: string;
  project_id: string;
  name: string;
  version: number;
  /** Of one flow, not of a list. */
  document: unknown;
  graph: FlowNode[] | null;
  created_at: string;
  updated_at: string;
}

export interface FlowRun {
  id: string;
  project_id: string;
  name: string;
  version: number | null;
  status: string;
  state: string;
  wish: string | null;
  error_code: string | null;
  cost_nano_usd: number;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
}

export interface FlowRunStep extends FlowNode {
  status: string;
  tries: number;
  cost_nano_usd: number | null;
  duration_ms: number | null;
  began: string | null;
  error_code: string | null;
  started_at: string | null;
  ended_at: string | null;
}

export interface FlowRunDetail extends FlowRun {
  input: unknown;
  output: unknown;
  steps: FlowRunStep[];
}

export interface FlowValidation {
  valid: boolean;
  errors: { pointer: string; message: string }[];
  graph: FlowNode[];
}

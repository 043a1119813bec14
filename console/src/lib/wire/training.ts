// What `/v2` answers of training jobs, as far as the console reads it.

export interface TrainProgress {
  step: number;
  of: number;
  loss: number;
  held_out_loss: number | null;
  learning_rate: number;
  tokens: number;
  seconds: number;
}

export interface TrainOutlook {
  texts: number;
  held_out_texts: number;
  tokens: number;
  learned_tokens: number;
  longest_text_tokens: number;
  steps: number;
  parameters: number;
  memory_bytes: number;
}

export interface TrainJob {
  id: string;
  node_id: string;
  node: string;
  status: string;
  model: string;
  adapter: string;
  result: string | null;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  settings: Record<string, unknown>;
  outlook: TrainOutlook | null;
  progress: TrainProgress | null;
  error: { code: string; message: string; param: string | null } | null;
}

export interface TrainPreview {
  model: string;
  outlook: TrainOutlook;
}

/** What an event of its kind does not say is not there. */
export interface TrainEvent {
  at: string;
  sequence: number;
  kind: string;
  step?: number;
  of?: number;
  loss?: number;
  held_out_loss?: number;
  learning_rate?: number;
  tokens?: number;
  is_checkpoint?: boolean;
  /** Where it is the end of an epoch that is kept as a model. */
  checkpoint_model?: string;
  model?: string;
  message?: string;
}

/** What a job was at the end of an epoch. */
export interface TrainCheckpoint {
  step: number;
  created_at: string;
  model: string;
  loss: number;
  held_out_loss: number | null;
}

export interface TrainEvents {
  data: TrainEvent[];
  next: number;
}

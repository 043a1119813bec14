// What `/v2/data-exports` answers.

export interface DataExportFile {
  name: string;
  lines: number;
  bytes: number;
  sha256: string;
}

export interface DataExport {
  id: string;
  status: 'pending' | 'running' | 'completed' | 'failed';
  format: 'jsonl' | 'parquet';
  project_id: string | null;
  files: DataExportFile[];
  parts: number;
  bytes: number;
  error: string | null;
  requested_by: string;
  created_at: string;
  completed_at: string | null;
  expires_at: string;
  content: string | null;
}

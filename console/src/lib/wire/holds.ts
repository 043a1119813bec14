// What `/v2/legal-holds` answers.

export interface LegalHold {
  id: string;
  status: 'in_force' | 'released';
  workspace: boolean;
  project_id: string | null;
  session_ids: string[];
  reason: string;
  created_by: string;
  created_at: string;
  released_by: string | null;
  released_at: string | null;
}

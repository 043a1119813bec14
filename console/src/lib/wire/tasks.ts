// What `/v2/tasks` answers.

export interface Task {
  id: string;
  project_id: string;
  api_key_id: string;
  request_id: string;
  app: string;
  status: string;
  priority: string;
  tries: number;
  rating: number | null;
  events: { at: string; status: string }[];
  logs: { at: string; text: string }[];
  created_at: string;
  due_at: string;
  ended_at: string | null;
  expires_at: string;
}

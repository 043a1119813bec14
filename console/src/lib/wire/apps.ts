// The HTTP servers that projects declare as apps, and the secrets that they name, as `/v2/apps` and `/v2/secrets` answer them.

export interface AppSecret {
  name: string;
  header: string;
  prefix: string;
}

export type AppRequirement = { type: 'integration'; provider: string } | { type: 'scope'; scope: string };

export interface OwnApp {
  id: string;
  project_id: string;
  name: string;
  description: string;
  input_schema: unknown;
  output_schema: unknown;
  method: string;
  url: string;
  arguments: Record<string, string>;
  secrets: AppSecret[];
  requirements: AppRequirement[];
  enabled: boolean;
  version: number;
  created_at: string;
}

/** What an app said at one of its versions, with the fields that change. */
export interface AppVersion {
  version: number;
  replaced_at: string | null;
}

export interface NamedSecret {
  id: string;
  project_id: string;
  name: string;
  hosts: string[];
  description: string;
  created_at: string;
}

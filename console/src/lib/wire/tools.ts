// What a project declares for its models to call, as `/v2/tools` and `/v2/mcp-servers` answer it.

export interface SealedHeaders {
  headers: string[];
}

export interface Tool {
  id: string;
  project_id: string;
  name: string;
  kind: 'function' | 'http' | 'app';
  description: string;
  method: string | null;
  app: string | null;
  url: string | null;
  auth: SealedHeaders | null;
  require_approval: boolean;
  enabled: boolean;
  suspicious: string | null;
  created_at: string;
}

export interface McpTool {
  name: string;
  status: 'accepted' | 'new' | 'changed' | 'suspicious' | 'gone';
  offered: boolean;
  description: string;
  digest: string;
  listed_description: string | null;
  listed_digest: string | null;
  suspicious: string | null;
}

export interface McpAuthorization {
  state: 'needed' | 'authorized' | 'expired';
  scopes: string[];
  wanted_scopes: string[];
  expires_at: string | null;
  client_id: string | null;
}

export interface McpServer {
  id: string;
  project_id: string;
  name: string;
  description: string;
  url: string;
  auth: SealedHeaders | null;
  authorization: McpAuthorization | null;
  allowed_tools: string[] | null;
  require_approval: 'never' | 'always';
  enabled: boolean;
  health: 'unknown' | 'ready' | 'unreachable' | 'authorization_needed';
  error: string | null;
  checked_at: string | null;
  server: string | null;
  tools: McpTool[];
  created_at: string;
}

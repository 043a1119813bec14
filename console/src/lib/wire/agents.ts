// Agents, and chats with them.

export interface AgentDefinition {
  description: string;
  model: string;
  instructions: string;
  tools: { type: string; name: string; require_approval?: boolean }[];
  limits: { steps?: number; seconds?: number; tokens?: number; nano_usd?: number };
}

export interface Agent {
  id: string;
  project_id: string;
  name: string;
  version: number;
  definition: AgentDefinition;
  created_at: string;
}

export interface ToolInvocation {
  id: string;
  type: string;
  function: { name: string; arguments: unknown };
  status: string;
  result: string | null;
}

export interface AgentMessage {
  id: string;
  role: string;
  status: string;
  content: { type: string; text?: string; error?: string }[];
  tool_invocations?: ToolInvocation[];
}

export interface Chat {
  id: string;
  status: string;
  chat_messages: AgentMessage[];
}

// What `/v2` answers of nodes, their runtimes and adapters, as far as the console reads it.

import type { Server } from './credentials';

export interface ComputeNode {
  id: string;
  name: string;
  base_url: string;
  status: string;
  models: string[];
  models_declared: boolean;
  labels: string[];
  /** Requests there; older servers have neither of both. */
  in_flight?: number;
  /** It is draining, and nothing is in flight there. */
  drained?: boolean;
  /** What its machine costs its owner, where that is stated. */
  cost?: HardwareCost | null;
  has_secret: boolean;
  last_seen_at: string | null;
  last_error: string | null;
  /** Where it joined by itself; older servers don't tell. */
  joined?: NodeJoined | null;
  /** The connection that it opened and that requests take to it. */
  tunnel?: NodeTunnel | null;
  server: Server;
  created_at: string;
}

/** How a node that joined is. */
export interface NodeJoined {
  joined_at: string;
  revoked_at: string | null;
  last_heartbeat_at: string | null;
  said: NodeSaid | null;
}

export interface NodeTunnel {
  since: string;
  round_trip_us: number | null;
  /** Requests under way in it; older servers have neither of both. */
  streams?: number;
  version?: string;
}

/** What a node says of itself with each heartbeat. */
export interface NodeSaid {
  version: string;
  runtime: string;
  device: string | null;
  load: { running: number; waiting: number; cache_bytes: number; cache_bytes_max: number };
  /** How large its models and adapters are, by name; older nodes don't tell. */
  model_bytes?: Record<string, number>;
  /** Since its start; older nodes count none. */
  counters?: { up_ms: number; busy_ms: number; energy_mj: number | null } | null;
  clock_skew_ms?: number | null;
  /** Its part in a mesh of peers, where it has one. */
  mesh?: { addresses: string[]; ejected: { name: string; public_key: string; why: string; until_unix_ms: number }[] } | null;
}

/** What the machine of a node costs. */
export type HardwareCost =
  | { kind: 'cloud'; nano_usd_per_hour: number }
  | { kind: 'owned'; price_nano_usd: number; months: number; watts_idle?: number; watts_busy?: number; nano_usd_per_kwh?: number };

/** A peer as a node sees it. */
export interface NodePeer {
  id: string;
  name: string;
  source: string | null;
  connected: boolean;
  rtt_ms: number | null;
  models: string[];
  /** What can be fetched there: `model/NAME` and `adapter/NAME`. */
  shares: string[];
  ejected: { why: string; until_unix_ms: number } | null;
  last_error: string | null;
  bytes_in: number;
  bytes_out: number;
  chunks_in: number;
}

/** A fetch from peers in progress. */
export interface NodeFetch {
  /** `model/NAME` or `adapter/NAME`. */
  share: string;
  bytes: number;
  bytes_here: number;
  chunks_by_peer: Record<string, number>;
}

export interface PeersOfNode {
  node_id: string;
  node: string;
  peers: NodePeer[];
  /** Older servers don't tell. */
  fetches?: NodeFetch[];
}

/** One answer of a node, by its own count. */
export interface NodeUsage {
  event_id: string;
  /** The gateway's request that it was given for. */
  request_id: string | null;
  model: string;
  adapter: string | null;
  operation: string;
  end: string;
  started_at: string;
  took_ms: number;
  input_tokens: number;
  cached_tokens: number;
  output_tokens: number;
  is_measured: boolean;
  /** The backend that answered in the node's place. */
  left_to: string | null;
}

/** What lets one node in, once. */
export interface JoinToken {
  name: string;
  token: string;
  expires_at: string;
}

/** What a node that is a runtime of ours says of itself. */
export interface Runtime {
  node_id: string;
  node: string;
  status: string;
  runtime: string;
  version: string;
  topology: string;
  execution_modes: string[];
  is_local_only: boolean;
  models: { id: string; context_tokens: number | null; weights_bytes?: number | null; is_model: boolean }[];
  adapters: RuntimeAdapters | null;
  requests_open: number | null;
}

export interface RuntimeAdapters {
  registered: number;
  max_registered: number;
  loaded_loras: string[];
  max_active_loras: number;
  loaded_bytes: number;
  max_loaded_bytes: number;
  max_lora_rank: number;
}

export interface Adapter {
  id: string;
  node_id: string;
  node: string;
  status: string;
  generation: number;
  rank: number;
  bytes: number;
  pinned: boolean;
  in_use: number;
  error: string | null;
}

/** A runtime that could not be asked: what is listed lacks what it has. */
export interface RuntimeAway {
  node_id: string;
  node: string;
  code: string;
  message: string;
}

/** What several runtimes said, and who of them did not. */
export interface Gathered<T> {
  data: T[];
  away: RuntimeAway[];
}

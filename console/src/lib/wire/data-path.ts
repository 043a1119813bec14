// What `/v2/data-path` answers, and the data path of a request.

export interface DataPathRetention {
  until: string | null;
  days: number | null;
  basis: 'agreed' | 'published' | 'ours' | 'unknown';
  source: string | null;
}

interface Seen {
  party: string;
  role: 'gateway' | 'hook' | 'provider' | 'node' | 'storage';
  purpose: string;
  saw: 'metadata' | 'content' | null;
  place: string | null;
  host: string | null;
  key: string | null;
  retention: DataPathRetention;
}

export interface DataPathParty extends Seen {
  attempt: number | null;
  seen_at: string;
}

export interface DataPathLine extends Seen {
  requests: number;
  first_seen: string;
  last_seen: string;
}

export interface DataPathRegion {
  region: string | null;
  requests: number;
  attempts: number;
  input_tokens: number;
  output_tokens: number;
}

export interface DataPath {
  start: string;
  end: string;
  data: DataPathLine[];
  residency: DataPathRegion[];
  requests: number;
  truncated: boolean;
  read_from: string | null;
}

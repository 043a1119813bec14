// Reports on how well a workload is reused: what the server answers, and where their links lead.

import type { Range } from './range';
import { capital, plain } from './words';

export interface DiagnosticsPart {
  part: string;
  points: number;
  points_max: number;
  sentence: string;
}

export interface DiagnosticsFinding {
  kind: string;
  subject: string;
  sentence: string;
  money_micros: number;
  money_meaning: 'spent' | 'at_most' | 'at_risk' | 'none';
  waited_ms: number;
  requests: number;
  request_ids: string[];
  filter: string | null;
  mend: { sentence: string; page: string; command: string | null };
}

export interface DiagnosticsReport {
  id: string;
  created_at: string;
  source: 'records' | 'traces';
  scope: { start: string | null; end: string | null; project_id: string | null; model: string | null };
  sample: { traces: number; is_sampled: boolean; is_small: boolean };
  evidence_digest: string;
  score: { points: number; points_max: number; band: string; parts: DiagnosticsPart[] };
  recommendation: { profile: string; reason: string };
  findings: DiagnosticsFinding[];
  fingerprint: string;
}

export interface DiagnosticsSummary {
  id: string;
  created_at: string;
  source: string;
  points: number;
  band: string;
  traces: number;
  findings: number;
  spent_micros: number;
}

const KINDS: Record<string, string> = {
  missed_cache: 'Missed cache',
  unstable_prefix: 'Unstable prefix',
  retries: 'Retries',
  idle_tail: 'Idle streams',
  model_size: 'Model size',
  budget_at_risk: 'Budget at risk',
};
const MEANINGS: Record<string, string> = { spent: 'spent', at_most: 'at most', at_risk: 'at risk' };

export const kindName = (kind: string): string => KINDS[kind] ?? capital(plain(kind));
export const meaning = (of: DiagnosticsFinding): string => MEANINGS[of.money_meaning] ?? '';
export const partName = (part: string): string => capital(plain(part)).replace('Ttft', 'TTFT');
export const tone = (band: string): string => (band === 'strong' || band === 'good' ? 'ok' : band === 'limited' ? 'warn' : '');

/** The span that the rows of a finding are in; none of an upload. */
export function span(report: DiagnosticsReport): { from?: string; to?: string } {
  const { start, end } = report.scope;
  return start && end ? { from: start, to: end } : {};
}

/** What a report of this span is asked for with. */
export const wanted = (range: Range): { start: string; end: string } => ({ start: new Date(range.from).toISOString(), end: new Date(range.to).toISOString() });

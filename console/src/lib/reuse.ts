// The reuse of prompts, from all that was sent down to what came from a cache, in bars and in money.

import { percentOf } from './caching';
import { exactMoney, many } from './format';

/** Of one request or of a sum. */
export interface Reuse {
  input_tokens: number;
  eligible_reuse_tokens: number;
  candidate_reuse_tokens: number;
  realized_reused_tokens: number;
  missed_opportunity_tokens: number;
  opportunity_ratio: number | null;
  realized_ratio: number | null;
  reuse_capture_rate: number | null;
  gross_input_nanos: number;
  reuse_credit_nanos: number;
  processed_input_nanos: number;
  write_premium_nanos: number;
  other_nanos: number;
  evidence: string | null;
  /** Of a request. */
  candidate_evidence?: string;
  cache_tier?: string | null;
  raised_to_report?: boolean;
  response_cache: Hits | null;
  /** Of a sum. */
  raised_requests?: number;
  unseen_requests?: number;
  evidence_requests?: Record<string, number>;
}

/** What the response cache answered; a request has no count of hits. */
export interface Hits {
  hits?: number;
  /** Of a request that means the same as the one that had the answer first. */
  similarity_bps?: number | null;
  input_tokens: number;
  output_tokens: number;
  saved_nanos: number;
}

export interface Bar {
  name: string;
  what: string;
  tokens: number;
  kind: 'input' | 'eligible' | 'candidate' | 'realized' | 'missed';
}

export function bars(reuse: Reuse): Bar[] {
  return [
    { name: 'Input', what: 'Prompt tokens, as counted by the provider', tokens: reuse.input_tokens, kind: 'input' },
    { name: 'Eligible', what: 'What the provider can cache at this prompt length', tokens: reuse.eligible_reuse_tokens, kind: 'eligible' },
    { name: 'Candidate', what: 'Tokens sent before, within the cache lifetime', tokens: reuse.candidate_reuse_tokens, kind: 'candidate' },
    { name: 'Realized', what: 'Tokens the provider or node read from its cache', tokens: reuse.realized_reused_tokens, kind: 'realized' },
    { name: 'Missed', what: 'Candidate minus realized', tokens: reuse.missed_opportunity_tokens, kind: 'missed' },
  ];
}

/** The width of a bar in per cent of the input. */
export function width(reuse: Reuse, bar: Bar): number {
  return reuse.input_tokens > 0 ? (bar.tokens / reuse.input_tokens) * 100 : 0;
}

/** `gross − credit = processed`, in all digits; nothing where no price is known. */
export function sum(reuse: Reuse): string | null {
  if (reuse.gross_input_nanos === 0 && reuse.processed_input_nanos === 0) return null;
  const credit = reuse.reuse_credit_nanos;
  const sign = credit < 0 ? '+' : '−';
  return `${exactMoney(reuse.gross_input_nanos, 9)} ${sign} ${exactMoney(Math.abs(credit), 9)} = ${exactMoney(reuse.processed_input_nanos, 9)}`;
}

const EVIDENCE: Record<string, string> = {
  provider_reported: 'as the provider reported',
  runtime_confirmed: 'as the node confirmed',
  router_inferred: 'as Tidegate estimates',
  trace_estimated: 'as estimated from traces',
  unknown: 'not counted',
};

/** What the counts rest on, and what they leave out. */
export function notes(reuse: Reuse): string[] {
  const said: string[] = [];
  if (reuse.evidence !== null && reuse.input_tokens > 0) said.push(`Realized: ${reuse.evidence_requests ? 'at worst ' : ''}${EVIDENCE[reuse.evidence] ?? reuse.evidence}.`);
  if (reuse.candidate_evidence === 'unknown' && reuse.input_tokens > 0) said.push('The prompt wasn’t compared with earlier ones: it’s too short, or the workspace turned this off.');
  if (reuse.unseen_requests) said.push(`${many(reuse.unseen_requests, 'prompt')} not compared with earlier prompts.`);
  if (reuse.raised_to_report || reuse.raised_requests) said.push(`${reuse.raised_requests ? `In ${many(reuse.raised_requests, 'request')} the` : 'The'} provider reused more than Tidegate expected; its report counts.`);
  if (reuse.write_premium_nanos > 0) said.push(`Writing to the cache cost ${exactMoney(reuse.write_premium_nanos, 9)} more than fresh input.`);
  const hits = reuse.response_cache;
  if (hits && hits.hits !== 0) said.push(`${hits.hits === undefined ? 'The answer came' : `${many(hits.hits, 'answer')} came`} from the response cache${hits.similarity_bps ? `, for a similar request (${percentOf(hits.similarity_bps)})` : ''}, which saved ${exactMoney(hits.saved_nanos, 9)}.`);
  return said;
}

// How data paths are put into words.

import { many } from './format';
import type { DataPathLine, DataPathParty, DataPathRetention } from './wire';

/** What is not known is said, and never left out. */
export const seenWords = (saw: DataPathParty['saw']): string => saw ?? 'unknown';
export const placeWords = (place: string | null): string => place ?? 'not stated';

/** How long it is retained, and who says so. */
export function retentionWords(retention: DataPathRetention, day: (at: string) => string): string {
  const { basis, days, until } = retention;
  if (basis === 'unknown') return 'unknown';
  if (days === 0) return `nothing, as ${basis}`;
  if (days !== null) return basis === 'ours' ? many(days, 'day') : `${many(days, 'day')}, as ${basis}`;
  if (until !== null) return basis === 'ours' ? `until ${day(until)}` : `until ${day(until)}, as ${basis}`;
  return 'until it is deleted or purged';
}

const PURPOSES: Record<string, string> = {
  serving: 'serves the request',
  answer: 'made the answer, or was asked to',
  embedding: 'embedded the text, to find an answer of the same meaning',
  semantic_cache: 'embedded the text, to find an answer of the same meaning',
  context_cache: 'caches the beginning of prompts',
  cache_keep_alive: 'was sent the beginning again, to keep it cached',
  hook_before: 'decided about the request',
  hook_after: 'decided about the answer',
  records: 'the record, without content',
  response_cache: 'answers that are given again',
  batches: 'what a batch asks, or its results',
  idempotent_answers: 'the answer under its idempotency key',
  kept_turns: 'turns, tasks and answers to go on from',
  request_contents: 'the request with its answer, as the project keeps them',
  files: 'a file that the request made',
  held_prompts: 'prompts that keep a cache alive',
  session: 'the agent’s session that it names',
};

/** Why a party was shown a request, or what it stores of it. */
export const purposeWords = (purpose: string): string => PURPOSES[purpose] ?? `stores a ${purpose.replaceAll('_', ' ')}`;

/** Whose key it is: the name of a credential or node, or what stands for the operator's accounts and for what is sealed here. */
export function keyWords(key: string | null, nameOf: (id: string) => string | undefined): string {
  if (key === null) return 'no key';
  if (key === 'managed') return 'the operator’s account';
  if (key === 'workspace_key') return 'sealed with the workspace’s key';
  return nameOf(key) ?? key;
}

/** Tells lines apart. */
export const lineKey = (line: DataPathLine): string => JSON.stringify([line.role, line.party, line.purpose, line.saw, line.place, line.host, line.key, line.retention]);

// How data paths are put into words.

import { many } from './format';
import type { DataPathLine, DataPathParty, DataPathRetention } from './wire';
import { plain } from './words';

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
  answer: 'generated the answer, or tried to',
  embedding: 'embedded the text, to find a similar answer',
  semantic_cache: 'embedded the text, to find a similar answer',
  context_cache: 'caches prompt prefixes',
  cache_keep_alive: 'got the prefix again, to keep it cached',
  hook_before: 'decided about the request',
  hook_after: 'decided about the answer',
  records: 'the record, without content',
  response_cache: 'cached answers',
  batches: 'batch requests or results',
  idempotent_answers: 'the answer, under its idempotency key',
  kept_turns: 'turns, tasks and answers to continue from',
  request_contents: 'the request and its answer, as the project’s settings say',
  files: 'a file the request created',
  held_prompts: 'prompts for cache keep-alive',
  session: 'the agent session it names',
};

/** Why a party was shown a request, or what it stores of it. */
export const purposeWords = (purpose: string): string => PURPOSES[purpose] ?? `stores a ${plain(purpose)}`;

/** Whose key it is: the name of a credential or node, or what stands for the operator's accounts and for what is sealed here. */
export function keyWords(key: string | null, nameOf: (id: string) => string | undefined): string {
  if (key === null) return 'no key';
  if (key === 'managed') return 'the operator’s account';
  if (key === 'workspace_key') return 'encrypted with the workspace’s key';
  return nameOf(key) ?? key;
}

/** Tells lines apart. */
export const lineKey = (line: DataPathLine): string => JSON.stringify([line.role, line.party, line.purpose, line.saw, line.place, line.host, line.key, line.retention]);

// A purge in words, and the signed receipt of it.

import { get, send } from './api';
import { count, many, shortId } from './format';
import { check, type Holding } from './signed';
import type { PurgeReceipt, PurgeScope } from './wire';

/** What a purge is about. */
export function scopeWords(scope: PurgeScope, nameOf: (id: string) => string | undefined, at: (time: string | null) => string): string {
  if (scope.workspace) return 'The whole workspace';
  if (scope.project_id) return `Project ${nameOf(scope.project_id) ?? shortId(scope.project_id)}`;
  if (scope.key_id) return `Key ${nameOf(scope.key_id) ?? shortId(scope.key_id)}`;
  if (scope.session_id) return `Session ${scope.session_id}`;
  if (scope.session_ids.length > 0) return many(scope.session_ids.length, 'session');
  if (scope.end_user_id) return `End user ${shortId(scope.end_user_id)}`;
  if (scope.artifact_ids.length > 0) return many(scope.artifact_ids.length, 'artifact');
  if (scope.request_ids.length > 0) return `${count(scope.request_ids.length)} requests`;
  return `${at(scope.from)} to ${at(scope.to)}`;
}

/** Whether a purge erases a person, or the workspace. */
export const isErasure = (scope: PurgeScope): boolean => scope.workspace || scope.session_ids.length > 0 || Boolean(scope.end_user_id);

/** An erasure has the number of its purge. */
export const erasureId = (purgeId: string): string => purgeId.replace(/^pjb_/, 'del_');

export interface ReadReceipt {
  receipt: PurgeReceipt;
  holding: Holding;
  /** As the server sent it: what is saved. */
  text: string;
}

/** The receipt of a purge that is over, checked with the installation's public key. */
export async function readReceipt(purgeId: string): Promise<ReadReceipt> {
  const text = await (await send('GET', `/v2/purge-jobs/${purgeId}/receipt`)).text();
  const receipt = JSON.parse(text) as PurgeReceipt;
  const { public_key } = await get<{ public_key: string }>('/v2/audit/key');
  return { receipt, holding: await check(receipt, public_key), text };
}

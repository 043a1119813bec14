// The models that a workspace can use: what it has used, and what its nodes and its key offer.

import { get, send, type Page } from './api';
import { read, type Reader } from './query.svelte';
import { session } from './session.svelte';
import type { ComputeNode, Usage, UsageRow } from './wire';

async function load(signal: AbortSignal): Promise<string[]> {
  const none = (error: unknown) => {
    if (signal.aborted) throw error;
    return undefined;
  };
  const [offered, used, nodes] = await Promise.all([
    session.key ? send('GET', '/v1/models', { signal, as: { key: session.key } }).then((response) => response.json() as Promise<Page<{ id: string }>>).catch(none) : undefined,
    get<Usage<UsageRow>>('/v2/usage', { group_by: 'model', window: '30d' }, signal).catch(none),
    get<Page<ComputeNode>>('/v2/byoc/nodes', { limit: 200 }, signal).catch(none),
  ]);
  const names = [...(nodes?.data ?? []).flatMap((node) => node.models), ...(offered?.data ?? []).map((model) => model.id), ...(used?.data ?? []).flatMap((row) => (row.model && row.requests > row.failed_requests ? [row.model] : []))];
  return [...new Set(names)];
}

export function readModels(): Reader<string[]> {
  return read(() => ({ key: session.state === 'in' ? `models ${session.workspaceId}` : undefined, load }));
}

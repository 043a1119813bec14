// The models that a workspace may ask for now, those that it used and those of its nodes first.

import { get, type Page } from './api';
import { read, type Reader } from './query.svelte';
import { session } from './session.svelte';
import type { CallableModel, ComputeNode, Usage, UsageRow } from './wire';

async function load(signal: AbortSignal): Promise<string[]> {
  const none = (error: unknown) => {
    if (signal.aborted) throw error;
    return undefined;
  };
  const [callable, used, nodes] = await Promise.all([
    get<Page<CallableModel>>('/v2/models', {}, signal).catch(none),
    get<Usage<UsageRow>>('/v2/usage', { group_by: 'model', window: '30d' }, signal).catch(none),
    get<Page<ComputeNode>>('/v2/byoc/nodes', { limit: 200 }, signal).catch(none),
  ]);
  const served = (used?.data ?? []).flatMap((row) => (row.model && row.requests > row.failed_requests ? [row.model] : []));
  const own = (nodes?.data ?? []).flatMap((node) => node.models);
  if (!callable) return [...new Set([...own, ...served])];
  const names = new Set(callable.data.map((model) => model.id));
  const chats = callable.data.filter((model) => model.modality === null || model.modality === 'chat');
  return [...new Set([...own, ...served, ...chats.map((model) => model.id)])].filter((name) => names.has(name));
}

export function readModels(): Reader<string[]> {
  return read(() => ({ key: session.state === 'in' ? `models ${session.workspaceId}` : undefined, load, everyMs: 15_000 }));
}

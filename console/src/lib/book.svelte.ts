// What the server knows of models and providers: their prices, their capabilities, what they are called.

import { get, type Page } from './api';
import { rows, NODES, type ModelRow } from './catalogue';
import { read, type Reader } from './query.svelte';
import { session } from './session.svelte';
import type { CallableModel, CapabilityManifest, ComputeNode, CredentialKind, PriceBook } from './wire';

export interface Book {
  revision: string;
  models: ModelRow[];
  /** What would be served now; nothing where an older server doesn't tell. */
  callable: ReadonlySet<string> | undefined;
  /** What a seller is called. */
  label: (seller: string) => string;
}

async function loadBook(signal: AbortSignal): Promise<Book> {
  const [prices, callable, kinds, nodes] = await Promise.all([
    get<PriceBook>('/v2/price-books', {}, signal),
    get<Page<CallableModel>>('/v2/models', {}, signal).catch((error: unknown) => (signal.aborted ? Promise.reject(error) : undefined)),
    get<Page<CredentialKind>>('/v2/provider-credentials/kinds', {}, signal),
    get<Page<ComputeNode>>('/v2/byoc/nodes', { limit: 200 }, signal),
  ]);
  return { revision: prices.revision, models: rows(prices, nodes.data), callable: callable && new Set(callable.data.map((model) => model.id)), label: labels(kinds.data) };
}

function labels(kinds: CredentialKind[]): (seller: string) => string {
  const known = new Map(kinds.map((kind) => [kind.provider, kind.display_name]));
  return (seller) => (seller === NODES ? 'Your nodes' : (known.get(seller) ?? seller));
}

export function readBook(): Reader<Book> {
  return read(() => ({ key: session.state === 'in' ? `book ${session.workspaceId}` : undefined, load: loadBook, everyMs: 60_000 }));
}

export interface Manifest extends CapabilityManifest {
  label: (provider: string) => string;
}

async function loadManifest(signal: AbortSignal): Promise<Manifest> {
  const [manifest, kinds] = await Promise.all([get<CapabilityManifest>('/v2/capabilities', {}, signal), get<Page<CredentialKind>>('/v2/provider-credentials/kinds', {}, signal)]);
  return { ...manifest, label: labels(kinds.data) };
}

export function readManifest(): Reader<Manifest> {
  return read(() => ({ key: session.state === 'in' ? `manifest ${session.workspaceId}` : undefined, load: loadManifest, everyMs: 60_000 }));
}

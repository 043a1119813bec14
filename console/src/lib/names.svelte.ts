// What ids are called: keys, projects, credentials, nodes, accounts, people by the names that people gave them.

import { get, type Page } from './api';
import { read } from './query.svelte';
import { session } from './session.svelte';

interface Named {
  id: string;
  name?: string | null;
  display_name?: string;
  email?: string;
}

const LISTS = ['/v2/api-keys', '/v2/projects', '/v2/provider-credentials', '/v2/byoc/nodes', '/v2/accounts', '/v2/members'];

export interface Names {
  of: (id: string | null | undefined) => string | undefined;
  /** The id of a name, or the text itself where it is an id or unknown. */
  idOf: (prefix: string, name: string) => string;
  all: (prefix: string) => string[];
  /** Ids with their names: two things may be called the same. */
  entries: (prefix: string) => [id: string, name: string][];
}

async function load(signal: AbortSignal): Promise<Map<string, string>> {
  const lists = await Promise.all(
    LISTS.map((path) =>
      get<Page<Named>>(path, { limit: 1000 }, signal).catch((error: unknown) => {
        if (signal.aborted) throw error;
        // A caller who may not read a list sees ids instead of its names.
        return { data: [] as Named[] };
      }),
    ),
  );
  return new Map(lists.flatMap(({ data }) => data.map((row) => [row.id, row.name || row.display_name || row.email || row.id] as const)));
}

export function readNames(): Names {
  const reader = read(() => ({ key: session.state === 'in' ? `names ${session.workspaceId}` : undefined, load, everyMs: 60_000 }));
  const names = $derived(reader.value ?? new Map<string, string>());
  return {
    of: (id) => (id ? names.get(id) : undefined),
    idOf: (prefix, name) => (names.has(name) ? name : ([...names].find(([id, known]) => id.startsWith(prefix) && known === name)?.[0] ?? name)),
    all: (prefix) => [...new Set([...names].filter(([id]) => id.startsWith(prefix)).map(([, name]) => name))],
    entries: (prefix) => [...names].filter(([id]) => id.startsWith(prefix)),
  };
}

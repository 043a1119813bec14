// What a new workspace does first, each step filled in from the lists that are there.

import { getIfAllowed, type Page } from './api';
import type { ApiKey, Usage, UsageRow } from './wire';

export interface Step {
  id: 'model' | 'tool' | 'request' | 'budget' | 'people';
  name: string;
  note: string;
  action: string;
  href: string;
  isDone: boolean;
}

/** What is known of a workspace; nothing where a list can't be read, and its step is left out then. */
export interface Known {
  models: number | undefined;
  /** Requests of each key of the last 30 days. */
  used: readonly { key?: string | null; requests: number; unattempted_requests: number }[] | undefined;
  keys: readonly Pick<ApiKey, 'id' | 'name'>[] | undefined;
  budgets: number | undefined;
  members: number | undefined;
}

/** The name of the keys that the playground makes for itself. */
export const PLAYGROUND = 'playground';

/** Whether a key is one of those. */
export const isOfPlayground = (name: string | null | undefined): boolean => name === PLAYGROUND || name?.startsWith(`${PLAYGROUND} `) === true;

export function steps(known: Known): Step[] {
  const { models, used, keys, budgets, members } = known;
  const asked = (used ?? []).filter((row) => row.requests + row.unattempted_requests > 0);
  const tools = new Set((keys ?? []).filter((key) => !isOfPlayground(key.name)).map((key) => key.id));
  const all: (Omit<Step, 'isDone'> & { isDone: boolean | undefined })[] = [
    { id: 'model', name: 'Connect a model', note: 'Use your own key, a managed account or your own node.', action: 'Connect', href: '/credentials?new=1', isDone: models === undefined ? undefined : models > 0 },
    { id: 'tool', name: 'Connect a tool', note: 'Point an SDK or a coding tool at this server.', action: 'Choose a tool', href: '/connect', isDone: used && keys && asked.some((row) => tools.has(row.key ?? '')) },
    { id: 'request', name: 'See a request', note: 'Its timing, its cost, and why it was routed that way.', action: 'Open the playground', href: '/playground', isDone: used && asked.length > 0 },
    { id: 'budget', name: 'Set a budget', note: 'Refuse requests over the limit, or get an alert.', action: 'Set a budget', href: '/budgets?new=1', isDone: budgets === undefined ? undefined : budgets > 0 },
    { id: 'people', name: 'Invite a teammate', note: 'People sign in; programs use API keys.', action: 'Invite', href: '/members?new=1', isDone: members === undefined ? undefined : members > 1 },
  ];
  return all.filter((step): step is Step => step.isDone !== undefined);
}

export async function loadSteps(signal: AbortSignal): Promise<Step[]> {
  // While the server is away, the steps stay as they were.
  const list = <Row>(path: string) => getIfAllowed<Page<Row>>(path, { limit: 200 }, signal);
  const [models, usage, keys, budgets, members] = await Promise.all([
    getIfAllowed<Page<unknown>>('/v2/models', {}, signal),
    getIfAllowed<Usage<UsageRow>>('/v2/usage', { group_by: 'key', window: '30d' }, signal),
    list<ApiKey>('/v2/api-keys'),
    list<unknown>('/v2/budgets'),
    list<unknown>('/v2/members'),
  ]);
  return steps({ models: models?.data.length, used: usage?.data, keys: keys?.data, budgets: budgets?.data.length, members: members?.data.length });
}

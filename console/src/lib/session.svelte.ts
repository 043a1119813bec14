// Who is signed in: a person by a cookie, or an API key that this tab holds.

import { ApiError, actAs, patch, post, send, toApiError, type Caller } from './api';
import { forget } from './query.svelte';

const KEY = 'tidegate.api_key';
const WORKSPACE = 'tidegate.workspace';

export interface Membership {
  id: string;
  name: string;
  role?: string;
}

export interface Member {
  id: string;
  email: string;
  name?: string | null;
  has_password?: boolean;
}

interface Me {
  member?: Member;
  key?: { id: string; name: string; scopes?: string[] };
  workspace_id?: string;
  role?: string;
  workspaces?: Membership[];
  csrf_token?: string;
}

const leaving: (() => Promise<void>)[] = [];

/** What is undone in the name of who is signed in, before they are not any more. */
export function beforeLeaving(act: () => Promise<void>): void {
  leaving.push(act);
}

class Session {
  state = $state<'starting' | 'unknown' | 'out' | 'in'>('starting');
  /** Why it is unknown who is signed in: the server could not be asked. */
  failure = $state.raw<ApiError | undefined>(undefined);
  member = $state.raw<Member | undefined>(undefined);
  /** The key's text where a key is signed in; it stays in this tab. */
  key = $state<string | undefined>(undefined);
  keyName = $state<string | undefined>(undefined);
  keyId = $state<string | undefined>(undefined);
  keyScopes = $state.raw<string[] | undefined>(undefined);
  role = $state<string | undefined>(undefined);
  workspaces = $state.raw<Membership[]>([]);
  workspaceId = $state<string | undefined>(undefined);
  wasExpired = $state(false);

  workspace = $derived(this.workspaces.find((one) => one.id === this.workspaceId));

  async start(): Promise<void> {
    const key = stored(sessionStorage, KEY);
    try {
      if (key) await this.withKey(key);
      else await this.#asMember();
    } catch (error) {
      const failure = toApiError(error);
      // Any other failure says nothing about who is signed in, so a key and a cookie outlive it.
      if ([401, 403].includes(failure.status)) return this.#out();
      // The same failure again is no news to a screen reader.
      if (this.failure?.code !== failure.code) this.failure = failure;
      this.state = 'unknown';
    }
  }

  async withKey(key: string): Promise<void> {
    const as: Caller = { key };
    // The workspaces tell that the key may read; which key it is, only newer servers say.
    const { data } = await fetchAs<{ data: Membership[] }>('/v2/workspaces', as);
    const me = await fetchAs<Me>('/v2/me', as).catch((error: unknown) => {
      if (error instanceof ApiError && error.status === 404) return {} as Me;
      throw error;
    });
    sessionStorage.setItem(KEY, key);
    this.key = key;
    this.keyName = me.key?.name;
    this.keyId = me.key?.id;
    this.keyScopes = me.key?.scopes;
    this.member = undefined;
    this.role = undefined;
    this.workspaces = me.workspaces ?? data;
    this.workspaceId = me.workspace_id ?? (data.length === 1 ? data[0]?.id : undefined);
    this.#in({ key });
  }

  async #asMember(): Promise<void> {
    const chosen = stored(localStorage, WORKSPACE);
    const me = await fetchAs<Me>('/v2/me', { workspace: chosen }).catch(async (error: unknown) => {
      // The chosen workspace may be one that they left.
      if (chosen && error instanceof ApiError && [403, 404].includes(error.status)) return fetchAs<Me>('/v2/me', {});
      throw error;
    });
    this.#take(me);
  }

  #take(me: Me): void {
    if (!me.member) throw new ApiError(401, 'unauthenticated', 'You’re not signed in.');
    this.member = me.member;
    this.key = undefined;
    this.role = me.role;
    this.workspaces = me.workspaces ?? [];
    this.workspaceId = me.workspace_id ?? this.workspaces[0]?.id;
    this.role ??= this.workspace?.role;
    this.#in({ csrf: me.csrf_token, workspace: this.workspaceId });
  }

  async withPassword(email: string, password: string): Promise<void> {
    await post('/v2/sign-in', { email, password }, { as: {} });
    await this.#asMember();
  }

  /** `isNew`: none of those who sign in with the invited address already. */
  async withLink(token: string, isNew = false): Promise<void> {
    await post('/v2/sign-in/link', isNew ? { token, new_person: true } : { token }, { as: {} });
    await this.#asMember();
  }

  /** Changes oneself; a new password begins a new session, with a token of its own. */
  async change(wanted: Record<string, string | undefined>): Promise<void> {
    this.#take(await patch<Me>('/v2/me', wanted));
  }

  async turnTo(workspace: string): Promise<void> {
    await Promise.all(leaving.map((act) => act()));
    localStorage.setItem(WORKSPACE, workspace);
    forget();
    await this.#asMember();
  }

  async signOut(): Promise<void> {
    await Promise.all(leaving.map((act) => act()));
    if (!this.key) await post('/v2/sign-out').catch(() => undefined);
    this.#out();
  }

  #in(caller: Caller): void {
    forget();
    this.wasExpired = false;
    actAs(caller, () => {
      if (this.state !== 'in') return;
      this.#out();
      this.wasExpired = true;
    });
    this.state = 'in';
  }

  #out(): void {
    sessionStorage.removeItem(KEY);
    this.key = undefined;
    this.member = undefined;
    this.workspaces = [];
    forget();
    actAs({}, () => {});
    this.state = 'out';
  }

  /** Whether they may do what needs the role admin, or a key with that scope. Where the server doesn't say, it is offered, and may be refused. */
  get mayManage(): boolean {
    if (this.key) return this.keyScopes?.includes('admin') ?? true;
    return this.role === undefined || ['owner', 'admin'].includes(this.role);
  }

  /** Whether they may do what needs the role owner, or the operator's key. Where the server doesn't say, it is offered. */
  get mayOwn(): boolean {
    if (this.key) return this.keyScopes?.includes('operator') ?? true;
    return this.role === undefined || this.role === 'owner';
  }

  get name(): string {
    return this.member?.name || this.member?.email || this.keyName || (this.key ? `key …${this.key.slice(-4)}` : '');
  }
}

async function fetchAs<T>(path: string, as: Caller): Promise<T> {
  return (await send('GET', path, { as })).json() as Promise<T>;
}

function stored(where: Storage, name: string): string | undefined {
  return where.getItem(name) ?? undefined;
}

export const session = new Session();

// The newest requests, kept new: asked for once a second while somebody looks.

import { untrack } from 'svelte';
import { get, toApiError, type ApiError, type Page, type Query } from './api';
import { onForget } from './query.svelte';
import { session } from './session.svelte';
import type { RequestRow } from './wire';

interface TailPage extends Page<RequestRow> {
  /** Where the next look begins; servers without it are asked for their newest. */
  tail_cursor?: string | null;
}

const EVERY_MS = 1_000;
const SLOWED_MS = 5_000;
/** At most so many rows a second come onto the screen; the rest are found by scrolling. */
const ROWS_MAX = 100;

export interface Tailing {
  /** What is looked at, whenever that was begun: who comes back to it sees at once what was there. */
  key: string;
  query: Query;
  isLive: boolean;
  /** Fixed ends: nothing new can come. */
  isPast: boolean;
}

interface Kept {
  key: string;
  rows: RequestRow[];
  cursor: string | null;
  hasMore: boolean;
  query: Query;
}
const KEPT_MAX = 4;
const memory: Kept[] = [];
onForget(() => (memory.length = 0));

/** Newest first, each request once; a row that comes again replaces its older self. */
export function merged(fresh: RequestRow[], known: RequestRow[]): RequestRow[] {
  if (fresh.length === 0) return known;
  const ids = new Set(fresh.map((row) => row.id));
  const both = [...fresh, ...known.filter((row) => !ids.has(row.id))];
  // Ids begin with their time.
  return both.sort((a, b) => (a.id < b.id ? 1 : a.id > b.id ? -1 : 0));
}

export class Tail {
  rows = $state.raw<RequestRow[]>([]);
  error = $state.raw<ApiError | undefined>(undefined);
  isLoaded = $state(false);
  isLoadingMore = $state(false);
  hasMore = $state(false);
  at = $state(0);
  /** Ids that came by themselves, to be shown as new for a moment. */
  fresh = $state.raw<ReadonlySet<string>>(new Set());

  #key = '';
  #cursor: string | null = null;
  #after: string | undefined;
  #query: Query = {};
  #abort: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isLive = false;
  #size: number;
  #onfresh: ((rows: RequestRow[]) => void) | undefined;

  constructor(tailing: () => Tailing, size = 100, onfresh?: (rows: RequestRow[]) => void) {
    this.#size = size;
    this.#onfresh = onfresh;
    let before = '';
    $effect(() => {
      const { key: looked, query, isLive, isPast } = tailing();
      const key = `${session.workspaceId} ${size} ${looked}`;
      this.#isLive = isLive && !isPast;
      untrack(() => {
        if (key === before) {
          this.#plan(0);
          return;
        }
        this.#keep();
        before = this.#key = key;
        this.#query = query;
        this.#begin();
      });
    });
    $effect(() => () => {
      this.#keep();
      clearTimeout(this.#timer);
      this.#abort?.abort();
    });
  }

  #begin(): void {
    const kept = memory.find((one) => one.key === this.#key);
    this.error = undefined;
    this.#after = undefined;
    this.isLoaded = kept !== undefined;
    this.fresh = new Set();
    if (kept) {
      this.rows = kept.rows;
      this.#cursor = kept.cursor;
      this.hasMore = kept.hasMore;
      this.#query = kept.query;
    } else {
      this.#cursor = null;
    }
    void this.#look();
  }

  #keep(): void {
    if (!this.isLoaded || this.#key === '') return;
    const others = memory.filter((one) => one.key !== this.#key).slice(0, KEPT_MAX - 1);
    memory.splice(0, memory.length, { key: this.#key, rows: this.rows, cursor: this.#cursor, hasMore: this.hasMore, query: this.#query }, ...others);
  }

  refresh(): void {
    memory.length = 0;
    this.#begin();
  }

  #plan(wait: number): void {
    clearTimeout(this.#timer);
    if (!this.#isLive || !this.isLoaded) return;
    this.#timer = setTimeout(() => {
      if (document.hidden) this.#plan(EVERY_MS);
      else void this.#look();
    }, wait);
  }

  async #look(): Promise<void> {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController());
    const isFirst = !this.isLoaded;
    try {
      const limit = isFirst ? this.#size : ROWS_MAX;
      const query = this.#after === undefined ? this.#query : { ...this.#query, since: this.#after };
      const page = await get<TailPage>('/v2/requests', { ...query, limit }, abort.signal);
      if (abort.signal.aborted) return;
      if (page.tail_cursor) this.#after = page.tail_cursor;
      if (isFirst) {
        this.rows = page.data;
        this.#cursor = page.next_cursor;
        this.hasMore = page.has_more;
        this.fresh = new Set();
      } else {
        this.#take(page.data);
      }
      this.isLoaded = true;
      this.error = undefined;
      this.at = Date.now();
      this.#plan(EVERY_MS);
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = toApiError(error);
      if (this.error.retryable) this.#plan(SLOWED_MS);
    }
  }

  #take(data: RequestRow[]): void {
    const known = new Set(this.rows.slice(0, ROWS_MAX * 2).map((row) => row.id));
    // Rows that were there but further down than is shown are not new.
    const oldest = this.rows.at(-1)?.id;
    const fresh = data.filter((row) => !known.has(row.id) && (!this.hasMore || oldest === undefined || row.id > oldest));
    if (fresh.length === 0) return;
    this.rows = merged(fresh, this.rows);
    this.fresh = new Set(fresh.map((row) => row.id));
    this.#onfresh?.(fresh);
  }

  async more(): Promise<void> {
    if (this.isLoadingMore || !this.hasMore || this.#cursor === null) return;
    this.isLoadingMore = true;
    const query = this.#query;
    try {
      const page = await get<TailPage>('/v2/requests', { ...query, limit: 200, cursor: this.#cursor });
      if (query === this.#query) {
        this.rows = merged(page.data, this.rows);
        this.#cursor = page.next_cursor;
        this.hasMore = page.has_more;
      }
    } catch (error) {
      this.error = toApiError(error);
    }
    this.isLoadingMore = false;
  }
}

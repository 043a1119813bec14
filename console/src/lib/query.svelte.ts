// Reading from the server: shown at once from memory, refreshed behind it, tried again when it fails.

import { untrack } from 'svelte';
import { toApiError, type ApiError } from './api';

interface Kept {
  value: unknown;
  at: number;
}

const KEPT_MAX = 200;
const RETRY_MS = [1_000, 2_000, 5_000, 10_000, 30_000];
const memory = new Map<string, Kept>();
const readers = new Set<Reader<unknown>>();

export interface Reading<T> {
  /** What is read; another key is another thing. `undefined` reads nothing yet. */
  key: string | undefined;
  load: (signal: AbortSignal) => Promise<T>;
  /** Read again this often, while the page is seen. */
  everyMs?: number;
  /** While another key loads, the last value stays (dimmed), instead of a skeleton. */
  keep?: boolean;
}

export class Reader<T> {
  value = $state.raw<T | undefined>(undefined);
  error = $state.raw<ApiError | undefined>(undefined);
  /** When the value came. */
  at = $state(0);
  isLoading = $state(false);
  /** The value is of the key before: the one asked for is under way. */
  isOld = $state(false);

  #reading: Reading<T> | undefined;
  #abort: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;

  constructor(reading: () => Reading<T>) {
    $effect(() => {
      const next = reading();
      untrack(() => this.#turnTo(next));
    });
    $effect(() => {
      const seen = () => {
        if (!document.hidden && this.#reading?.everyMs) this.refresh();
      };
      readers.add(this as Reader<unknown>);
      document.addEventListener('visibilitychange', seen);
      return () => {
        readers.delete(this as Reader<unknown>);
        document.removeEventListener('visibilitychange', seen);
        this.#stop();
      };
    });
  }

  get key(): string | undefined {
    return this.#reading?.key;
  }

  refresh(): void {
    void this.#load();
  }

  /** Shows what a write returned, without asking for it again. */
  put(value: T): void {
    this.value = value;
    this.at = Date.now();
    if (this.#reading?.key) keep(this.#reading.key, value);
  }

  #turnTo(next: Reading<T>): void {
    const before = this.#reading;
    this.#reading = next;
    if (before?.key === next.key) {
      if (before?.everyMs !== next.everyMs) this.#plan();
      return;
    }
    this.#stop();
    this.#failures = 0;
    this.error = undefined;
    const kept = next.key === undefined ? undefined : memory.get(next.key);
    if (kept) {
      this.value = kept.value as T;
      this.at = kept.at;
      this.isOld = false;
    } else if (next.keep && this.value !== undefined && next.key !== undefined) {
      this.isOld = true;
    } else {
      this.value = undefined;
      this.isOld = false;
    }
    void this.#load();
  }

  async #load(): Promise<void> {
    const reading = this.#reading;
    if (!reading || reading.key === undefined) return;
    this.#stop();
    const abort = new AbortController();
    this.#abort = abort;
    this.isLoading = true;
    try {
      const value = await reading.load(abort.signal);
      if (abort.signal.aborted) return;
      keep(reading.key, value);
      this.value = value;
      this.at = Date.now();
      this.error = undefined;
      this.isOld = false;
      this.#failures = 0;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = toApiError(error);
      this.#failures += 1;
    }
    this.isLoading = false;
    this.#plan();
  }

  /** The next reading: soon after a failure that may pass, later where the page keeps itself fresh. */
  #plan(): void {
    clearTimeout(this.#timer);
    const everyMs = this.#reading?.everyMs;
    const wait = this.error
      ? this.error.retryable
        ? (RETRY_MS[Math.min(this.#failures, RETRY_MS.length) - 1] ?? 30_000)
        : undefined
      : everyMs;
    if (wait === undefined) return;
    this.#timer = setTimeout(() => {
      if (document.hidden) this.#plan();
      else void this.#load();
    }, wait);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = undefined;
    this.isLoading = false;
  }
}

function keep(key: string, value: unknown): void {
  memory.delete(key);
  memory.set(key, { value, at: Date.now() });
  if (memory.size > KEPT_MAX) {
    const oldest = memory.keys().next().value;
    if (oldest !== undefined) memory.delete(oldest);
  }
}

/** Must be called while a component is set up. */
export function read<T>(reading: () => Reading<T>): Reader<T> {
  return new Reader(reading);
}

/** After a write: what begins with this key is read again where it is shown, and forgotten where it is not. */
export function outdate(prefix: string): void {
  for (const key of [...memory.keys()]) if (key.startsWith(prefix)) memory.delete(key);
  for (const reader of readers) if (reader.key?.startsWith(prefix)) reader.refresh();
}

const others: (() => void)[] = [];

/** Whoever else remembers what a caller saw, forgets it with them. */
export function onForget(act: () => void): void {
  others.push(act);
}

export function forget(): void {
  memory.clear();
  for (const act of others) act();
}

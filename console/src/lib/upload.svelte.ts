// A file on its way to the server: in parts, of which those that have arrived are not sent again after a break.

import { announcer } from './announce.svelte';
import { ApiError, post, refusal, toApiError } from './api';
import type { NewFile } from './wire';

const PART_BYTES = 8 * 1024 * 1024;
const RETRY_MS = [500, 2_000, 5_000];

export type UploadState = 'waiting' | 'sending' | 'stopped' | 'failed' | 'done';

/** The header of a part, and where the next one begins. */
export function partOf(from: number, size: number): { range: string | undefined; to: number } {
  const to = Math.min(from + PART_BYTES, size);
  // What fits in one part is sent whole; an empty file has no range.
  return { range: from === 0 && to === size ? undefined : `bytes ${from}-${to - 1}/${size}`, to };
}

/** How much has arrived, by the header that tells it. */
export function arrived(range: string | null): number {
  const last = /^bytes=0-(\d+)$/.exec(range ?? '')?.[1];
  return last === undefined ? 0 : Number(last) + 1;
}

export class Upload {
  readonly file: File;
  sent = $state(0);
  state = $state<UploadState>('waiting');
  error = $state.raw<ApiError | undefined>(undefined);
  #path: string | undefined;
  #stop = new AbortController();
  readonly #project: string | undefined;

  constructor(file: File, project: string | undefined) {
    this.file = file;
    this.#project = project;
  }

  stop(): void {
    this.#stop.abort();
    if (this.state === 'waiting') this.state = 'stopped';
  }

  /** Sends it, or what has not arrived of it. */
  async send(): Promise<void> {
    this.#stop = new AbortController();
    this.state = 'sending';
    this.error = undefined;
    try {
      await this.#parts();
      this.state = 'done';
      announcer.say(`${this.file.name} uploaded.`);
    } catch (error) {
      this.state = this.#stop.signal.aborted ? 'stopped' : 'failed';
      if (this.state === 'failed') this.error = toApiError(error);
    }
  }

  async #parts(): Promise<void> {
    const { size } = this.file;
    let from = 0;
    if (this.#path) {
      const known = await this.#put(this.#path, undefined, `bytes */${size}`);
      from = arrived(known.range);
    } else {
      const body = { filename: this.file.name, size, content_type: this.file.type || undefined, project_id: this.#project };
      const made = await post<NewFile>('/v2/files', body, { signal: this.#stop.signal });
      // At this server, by whichever name the page reached it.
      this.#path = new URL(made.upload_url).pathname;
    }
    let failures = 0;
    for (;;) {
      const { range, to } = partOf(from, size);
      const begun = from;
      try {
        const answer = await this.#put(this.#path, this.file.slice(from, to), range, (bytes) => (this.sent = begun + bytes));
        if (answer.status !== 308) return void (this.sent = size);
        failures = 0;
        from = arrived(answer.range);
      } catch (error) {
        const wait = RETRY_MS[failures];
        if (!toApiError(error).retryable || wait === undefined || this.#stop.signal.aborted) throw error;
        failures += 1;
        await new Promise((resume) => setTimeout(resume, wait));
        from = arrived((await this.#put(this.#path, undefined, `bytes */${size}`)).range);
      }
      this.sent = from;
    }
  }

  /** With an XMLHttpRequest: `fetch` does not tell how much of a body was sent. */
  #put(path: string, body: Blob | undefined, range: string | undefined, onprogress?: (bytes: number) => void): Promise<{ status: number; range: string | null }> {
    const { signal } = this.#stop;
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const stop = () => request.abort();
      request.open('PUT', path);
      if (range) request.setRequestHeader('content-range', range);
      if (onprogress) request.upload.onprogress = (event) => onprogress(event.loaded);
      request.onload = () => {
        if (request.status < 300 || request.status === 308) return resolve({ status: request.status, range: request.getResponseHeader('range') });
        const headers = { 'x-request-id': request.getResponseHeader('x-request-id') ?? '' };
        void refusal(new Response(request.responseText, { status: request.status, headers })).then(reject);
      };
      request.onerror = () => reject(new ApiError(0, 'unreachable', 'The server didn’t respond.', 'Continue once it does. Uploaded parts aren’t sent again.', undefined, true));
      request.onabort = () => reject(new DOMException('The upload was stopped.', 'AbortError'));
      request.onloadend = () => signal.removeEventListener('abort', stop);
      signal.addEventListener('abort', stop);
      if (signal.aborted) return reject(new DOMException('The upload was stopped.', 'AbortError'));
      request.send(body ?? null);
    });
  }
}

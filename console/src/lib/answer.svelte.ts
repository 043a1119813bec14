// One model's answer to one prompt: asked, streamed, and its receipt once it is in the books.

import { ApiError, get, send } from './api';
import { droppedIn, servedBy, type Served } from './lanes';
import { EventReader, joined, type ToolCall } from './stream';
import type { Exchange } from './wire';

const RECEIPT_TRIES = 20;
const RECEIPT_EVERY_MS = 250;

export class Answer {
  text = $state('');
  reasoning = $state('');
  /** The tools that it wants called. */
  calls = $state.raw<ToolCall[]>([]);
  served = $state.raw<Served | undefined>(undefined);
  dropped = $state.raw<string[]>([]);
  requestId = $state<string | undefined>(undefined);
  firstByteMs = $state<number | undefined>(undefined);
  firstWordMs = $state<number | undefined>(undefined);
  totalMs = $state<number | undefined>(undefined);
  finish = $state<string | undefined>(undefined);
  receipt = $state.raw<Exchange | undefined>(undefined);
  error = $state.raw<ApiError | undefined>(undefined);
  isOver = $state(false);
  /** Its receipt is there, or won't come: what leads to the request leads somewhere. */
  isSettled = $state(false);
  #abort = new AbortController();
  #began = performance.now();

  constructor(readonly model: string) {}

  get isFailed(): boolean {
    return this.error !== undefined;
  }

  /** What somebody pays for it, in nanos; nothing where it is not known. */
  get costNanos(): number | undefined {
    if (!this.receipt || this.receipt.unpriced) return undefined;
    return this.receipt.cost_nanos > 0 ? this.receipt.cost_nanos : this.receipt.provider_cost_nanos;
  }

  stop(): void {
    this.#abort.abort();
  }

  async ask(body: unknown, key: string): Promise<void> {
    this.#began = performance.now();
    try {
      const response = await send('POST', '/v1/chat/completions', { body, signal: this.#abort.signal, as: { key } });
      this.requestId = response.headers.get('x-request-id') ?? undefined;
      this.served = servedBy(response.headers);
      this.dropped = droppedIn(response.headers);
      await this.#read(response);
    } catch (error) {
      if (this.#abort.signal.aborted) this.finish = 'stopped';
      else this.error = error instanceof ApiError ? error : new ApiError(0, 'stream_broken', 'The stream was interrupted.', undefined, this.requestId, true);
    }
    this.requestId ??= this.error?.requestId;
    this.totalMs = this.#elapsed();
    this.isOver = true;
    await this.#settle();
  }

  #elapsed(): number {
    return performance.now() - this.#began;
  }

  async #read(response: Response): Promise<void> {
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    const events = new EventReader();
    for (;;) {
      const piece = await reader?.read();
      if (!piece || piece.done) return;
      this.firstByteMs ??= this.#elapsed();
      for (const event of events.push(piece.value)) {
        if (event.text || event.reasoning) this.firstWordMs ??= this.#elapsed();
        if (event.text) this.text += event.text;
        if (event.reasoning) this.reasoning += event.reasoning;
        if (event.calls) this.calls = joined(this.calls, event.calls);
        if (event.finish) this.finish = event.finish;
        if (event.error) this.error = new ApiError(502, 'stream_broken', event.error, undefined, this.requestId);
      }
    }
  }

  /** What it cost is in the books a moment after its last byte. */
  async #settle(): Promise<void> {
    for (let tries = 0; this.requestId && tries < RECEIPT_TRIES && !this.receipt; tries += 1) {
      if (tries > 0) await new Promise((resume) => setTimeout(resume, RECEIPT_EVERY_MS));
      this.receipt = await get<Exchange>(`/v2/requests/${this.requestId}`).catch(() => undefined);
    }
    this.isSettled = true;
  }
}

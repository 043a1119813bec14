// Every call to the server: who calls, how an error reads, how a list goes on.

/** A refusal of `/v2` (RFC 9457), or of `/v1` in its own shape, or no answer at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly fix?: string,
    readonly requestId?: string,
    readonly retryable: boolean = false,
    readonly field?: string,
  ) {
    super(message);
  }

  /** This server is older than the page that asks: it has no such path. */
  get isUnserved(): boolean {
    return this.status === 404 && (this.fix?.includes('what this version serves') ?? false);
  }
}

/** What was thrown, as an error to show: anything but a refusal is the console's own fault. */
export function toApiError(thrown: unknown): ApiError {
  return thrown instanceof ApiError ? thrown : new ApiError(0, 'console_error', String(thrown));
}

/** What was verified. One that its provider refused, or couldn't be asked about, is an error. */
export function accepted(one: { last_error: string | null }): void {
  if (one.last_error) throw new ApiError(200, 'not_verified', one.last_error);
}

/** Who calls. A key travels in a header; a signed-in person's cookie is the browser's business. */
export interface Caller {
  key?: string;
  csrf?: string;
  workspace?: string;
}

let caller: Caller = {};
let expired: () => void = () => {};

export function actAs(next: Caller, onExpired: () => void): void {
  caller = next;
  expired = onExpired;
}

export type Query = Record<string, string | number | undefined>;

export interface Options {
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
  ifMatch?: string;
  /** Called with who is named here instead of the one signed in. */
  as?: Caller;
  /** Goes through even where the page ends meanwhile. */
  outlives?: boolean;
}

export interface Answer<T> {
  data: T;
  etag?: string;
}

export function address(path: string, query: Query = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') search.set(name, String(value));
  }
  const text = search.toString();
  return text === '' ? path : `${path}?${text}`;
}

export function headers(method: string, by: Caller): Headers {
  const sent = new Headers();
  if (by.key) sent.set('authorization', `Bearer ${by.key}`);
  if (by.csrf && method !== 'GET') sent.set('x-tidegate-csrf', by.csrf);
  if (by.workspace) sent.set('tidegate-workspace', by.workspace);
  return sent;
}

export async function send(method: string, path: string, options: Options = {}): Promise<Response> {
  const by = options.as ?? caller;
  const sent = headers(method, by);
  if (options.ifMatch) sent.set('if-match', options.ifMatch);
  if (options.body !== undefined) sent.set('content-type', 'application/json');
  let response: Response;
  try {
    response = await fetch(address(path, options.query), {
      method,
      headers: sent,
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
      signal: options.signal,
      credentials: by.key ? 'omit' : 'same-origin',
      cache: 'no-store',
      keepalive: options.outlives,
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError(0, 'unreachable', 'The server didn’t respond.', 'Check that `tidegate serve` is running and reachable from this machine.', undefined, true);
  }
  if (!response.ok) {
    const error = await refusal(response);
    if (response.status === 401 && options.as === undefined) expired();
    throw error;
  }
  return response;
}

/** A response that is no success, as an error to show. */
export async function refusal(response: Response): Promise<ApiError> {
  const id = response.headers.get('x-request-id') ?? undefined;
  const retryable = response.status >= 500 || response.status === 429;
  let said: Record<string, unknown> = {};
  try {
    const parsed: unknown = await response.json();
    if (isRecord(parsed)) said = isRecord(parsed.error) ? parsed.error : parsed;
  } catch {
    // An answer that is no JSON comes from something in between; its status says enough.
  }
  const text = (name: string) => (typeof said[name] === 'string' ? (said[name] as string) : undefined);
  const message = text('detail') ?? text('message') ?? text('title') ?? `The server returned ${response.status}.`;
  const code = text('code') ?? `http_${response.status}`;
  return new ApiError(response.status, code, message, text('fix'), text('request_id') ?? id, said.retryable === true || retryable, text('param'));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function read<T>(method: string, path: string, options?: Options): Promise<Answer<T>> {
  const response = await send(method, path, options);
  const etag = response.headers.get('etag') ?? undefined;
  const text = await response.text();
  return { data: (text === '' ? undefined : JSON.parse(text)) as T, etag };
}

export async function get<T>(path: string, query?: Query, signal?: AbortSignal): Promise<T> {
  return (await read<T>('GET', path, { query, signal })).data;
}

/** Nothing where it may not be read, or where an older server has no such path. */
export async function getIfAllowed<T>(path: string, query?: Query, signal?: AbortSignal): Promise<T | undefined> {
  try {
    return await get<T>(path, query, signal);
  } catch (error) {
    if (error instanceof ApiError && (error.status === 403 || error.status === 404)) return undefined;
    throw error;
  }
}

export async function getTagged<T>(path: string, signal?: AbortSignal): Promise<Answer<T>> {
  return read<T>('GET', path, { signal });
}

export async function post<T>(path: string, body: unknown = {}, options: Options = {}): Promise<T> {
  return (await read<T>('POST', path, { ...options, body })).data;
}

export async function patch<T>(path: string, body: unknown, ifMatch?: string): Promise<T> {
  return (await read<T>('PATCH', path, { body, ifMatch })).data;
}

export async function put<T>(path: string, body: unknown): Promise<T> {
  return (await read<T>('PUT', path, { body })).data;
}

export async function remove(path: string): Promise<void> {
  await read('DELETE', path);
}

export interface Page<T> {
  data: T[];
  next_cursor: string | null;
  has_more: boolean;
}

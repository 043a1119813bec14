// Vendors' subscriptions as they are typed and read: the token with what renews it, and the caps of each window.

import { many } from './format';
import type { Subscription } from './wire';

export interface Window {
  hours: number;
  requests?: number;
  tokens?: number;
}

/** The field that a secret is sent in: JSON is an access token with what renews it. */
export function secret(text: string): { token: string } | { oauth: unknown } {
  try {
    const read: unknown = JSON.parse(text);
    if (typeof read === 'object' && read !== null) return { oauth: read };
  } catch {
    // A token is no JSON.
  }
  return { token: text.trim() };
}

/** The windows of `5h:requests=100,tokens=5000`, one a line, or the line that is none. */
export function windows(text: string): Window[] | { wrong: string } {
  const read: Window[] = [];
  for (const line of text.split('\n').map((line) => line.trim()).filter(Boolean)) {
    const [, hours, caps] = /^(\d{1,6})h:((?:requests|tokens)=\d{1,15}(?:,(?:requests|tokens)=\d{1,15})?)$/.exec(line) ?? [];
    if (hours === undefined || caps === undefined) return { wrong: line };
    const fields = caps.split(',').map((cap) => cap.split('=') as [string, string]);
    read.push({ hours: Number(hours), ...Object.fromEntries(fields.map(([name, count]) => [name, Number(count)])) });
  }
  return read;
}

/** `3 of 100 requests in 5 h`, for each cap. */
export function caps(one: Subscription): string[] {
  return one.windows.flatMap((window, at) => {
    const used = one.window_use[at];
    const cap = (kind: 'request' | 'token', count: number, most: number | undefined) => (most === undefined ? [] : [`${String(count)} of ${many(most, kind)} in ${String(window.hours)} h`]);
    return [...cap('request', used?.requests ?? 0, window.requests), ...cap('token', used?.tokens ?? 0, window.tokens)];
  });
}

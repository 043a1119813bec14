// A task as it is followed: the whole of it, then its text so far and what changes, then the whole again, each in a line of JSON.

import { send } from './api';

/** What a key of the task's project may read of it. */
export interface FollowedTask {
  status_text: string;
  input: unknown;
  output: unknown;
  error: string | null;
  problem?: unknown;
}

/** What a line changes of what is known of the task; `undefined` before the first whole one. */
export function change(known: FollowedTask | undefined, line: string): FollowedTask | undefined {
  const message = JSON.parse(line) as Record<string, unknown>;
  if (message.type === 'heartbeat') return known;
  if (message.event === 'delta') return known && { ...known, output: extended(known.output, (message.data as { delta?: unknown }).delta) };
  if (message.fields !== undefined) return known && { ...known, ...(message.data as Partial<FollowedTask>) };
  return message as unknown as FollowedTask;
}

/** Texts go on where they were. */
function extended(output: unknown, delta: unknown): unknown {
  const made: Record<string, unknown> = { ...((output ?? {}) as object) };
  for (const [name, text] of Object.entries((delta ?? {}) as object)) made[name] = `${typeof made[name] === 'string' ? made[name] : ''}${String(text)}`;
  return made;
}

/** How long to wait before a stream that broke off is opened again. */
const AGAIN_MS = 1_000;

/** Follows it to its end, over streams that break off; `onchange` hears each state of it. */
export async function followTask(id: string, key: string, signal: AbortSignal, onchange: (task: FollowedTask) => void): Promise<void> {
  while (!(await follow(id, key, signal, onchange))) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
}

/** Whether it was followed to its end. */
async function follow(id: string, key: string, signal: AbortSignal, onchange: (task: FollowedTask) => void): Promise<boolean> {
  // Without a header of its own the stream is lines of JSON.
  const response = await send('GET', `/v1/tasks/${encodeURIComponent(id)}/stream`, { signal, as: { key } });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let known: FollowedTask | undefined;
  for (;;) {
    let read: ReadableStreamReadResult<string> | undefined;
    try {
      read = await reader?.read();
    } catch (error) {
      if (signal.aborted) throw error;
      return false;
    }
    const { done, value } = read ?? { done: true, value: undefined };
    const lines = (rest + (value ?? '')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines.filter((one) => one.trim() !== '')) known = change(known, line);
    if (known) onchange(known);
    if (done) return true;
  }
}

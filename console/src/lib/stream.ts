// Server-sent events of a chat completion, out of bytes as they come.

/** A piece of a tool's call; its arguments come in pieces. */
export interface CallPiece {
  index?: number;
  function?: { name?: string; arguments?: string };
}

export interface Delta {
  text?: string;
  reasoning?: string;
  finish?: string;
  calls?: CallPiece[];
  usage?: { prompt_tokens: number; completion_tokens: number };
  error?: string;
  isDone?: boolean;
}

/** Takes text in any pieces, and gives the whole events that it makes. */
export class EventReader {
  #rest = '';

  push(piece: string): Delta[] {
    this.#rest += piece;
    const found: Delta[] = [];
    for (;;) {
      const end = /\r\n\r\n|\n\n|\r\r/.exec(this.#rest);
      if (!end) return found;
      const event = this.#rest.slice(0, end.index);
      this.#rest = this.#rest.slice(end.index + end[0].length);
      const data = event
        .split(/\r\n|\n|\r/)
        .filter((line) => line.startsWith('data:'))
        .map((line) => line.slice(line.startsWith('data: ') ? 6 : 5))
        .join('\n');
      if (data !== '') found.push(read(data));
    }
  }
}

function read(data: string): Delta {
  if (data.trim() === '[DONE]') return { isDone: true };
  let parsed: unknown;
  try {
    parsed = JSON.parse(data);
  } catch {
    return { error: 'The stream sent an event that isn’t JSON.' };
  }
  const event = parsed as { error?: { message?: string }; usage?: Delta['usage'] | null; choices?: { delta?: { content?: string | null; reasoning_content?: string | null; reasoning?: string | null; tool_calls?: CallPiece[] }; finish_reason?: string | null }[] };
  if (event.error) return { error: event.error.message ?? 'The stream was interrupted.' };
  const choice = event.choices?.[0];
  const delta: Delta = {};
  if (choice?.delta?.content) delta.text = choice.delta.content;
  const reasoning = choice?.delta?.reasoning_content ?? choice?.delta?.reasoning;
  if (reasoning) delta.reasoning = reasoning;
  if (choice?.delta?.tool_calls) delta.calls = choice.delta.tool_calls;
  if (choice?.finish_reason) delta.finish = choice.finish_reason;
  if (event.usage) delta.usage = event.usage;
  return delta;
}

export interface ToolCall {
  name: string;
  arguments: string;
}

/** Calls with the pieces that came for them. */
export function joined(calls: readonly ToolCall[], pieces: readonly CallPiece[]): ToolCall[] {
  const next = [...calls];
  for (const { index = 0, function: piece } of pieces) {
    const before = next[index] ?? { name: '', arguments: '' };
    next[index] = { name: before.name + (piece?.name ?? ''), arguments: before.arguments + (piece?.arguments ?? '') };
  }
  return next;
}

// A conversation as a tree: the calls of a message with their results below it.

import type { ChatMessage, SessionEvent } from './wire';

export interface Call {
  name: string;
  arguments: string;
  /** What it was answered, if it was. */
  result?: string;
}

export interface Turn {
  role: string;
  text: string;
  calls: Call[];
}

/** The text of a message's content; parts that have none are named. */
export function textOf(content: unknown): string {
  if (content === null || content === undefined) return '';
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return JSON.stringify(content, null, 2);
  const part = (one: { type?: string; text?: unknown }) => (typeof one?.text === 'string' ? one.text : `[${one?.type ?? 'part'}]`);
  return content.map(part).join('\n');
}

/** The turns of a conversation; results whose call is not there stand alone. */
export function turnsOf(messages: ChatMessage[]): Turn[] {
  const turns: Turn[] = [];
  const open = new Map<string, Call>();
  for (const message of messages) {
    const call = message.role === 'tool' ? open.get(message.tool_call_id ?? '') : undefined;
    if (call) {
      call.result = textOf(message.content);
      continue;
    }
    const calls = (message.tool_calls ?? []).map((one) => {
      const made: Call = { name: one.function?.name ?? 'a tool', arguments: one.function?.arguments ?? '' };
      if (one.id) open.set(one.id, made);
      return made;
    });
    turns.push({ role: message.role, text: textOf(message.content), calls });
  }
  return turns;
}

const ROLES: Record<string, string> = { user_message: 'user', assistant_message: 'assistant', tool_result: 'tool', retrieval_result: 'tool' };

/** The event of a session as a message: an item of the Responses API, a message of chat, or a text. */
function messageOf(event: SessionEvent): ChatMessage {
  const role = ROLES[event.event_type] ?? event.event_type;
  const item = event.content as Record<string, unknown> | string | null | undefined;
  if (item === null || typeof item !== 'object') return { role, content: item };
  const text = (name: string) => (typeof item[name] === 'string' ? (item[name] as string) : '');
  if (item.type === 'function_call') return { role: 'assistant', tool_calls: [{ id: text('call_id'), function: { name: text('name'), arguments: text('arguments') } }] };
  if (item.type === 'function_call_output') return { role: 'tool', tool_call_id: text('call_id'), content: item.output };
  if (typeof item.role === 'string') return { ...(item as unknown as ChatMessage), role: item.role };
  return { role, content: item };
}

/** The conversation of events whose content is shown. */
export function turnsOfEvents(events: SessionEvent[]): Turn[] {
  return turnsOf(events.filter((event) => event.content !== undefined).map(messageOf));
}

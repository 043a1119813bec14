// What the playground sends, out of what is filled in.

import type { Message } from './lanes';

export interface Settings {
  system: string;
  temperature: string;
  tokens: string;
  seed: string;
  /** A JSON Schema that the answer has to fit. */
  schema: string;
  /** Tools as a JSON list, in the chat format or as bare functions. */
  tools: string;
}

export const NOTHING_SET: Settings = { system: '', temperature: '', tokens: '', seed: '', schema: '', tools: '' };

/** A file that goes along with a message. */
export interface Attached {
  name: string;
  type: string;
  base64: string;
}

/** The most that is attached to one message, before it is encoded. */
export const ATTACHED_BYTES_MAX = 16 * 1024 * 1024;

function parsed(text: string): { value?: unknown; problem?: string } {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** What is wrong with a schema, in a sentence. */
export function schemaProblem(text: string): string | undefined {
  if (text.trim() === '') return undefined;
  const { value, problem } = parsed(text);
  if (problem) return `Invalid JSON: ${problem}.`;
  return isRecord(value) ? undefined : 'Write a JSON Schema, such as {"type": "object", "properties": {…}}.';
}

/** What is wrong with a list of tools, in a sentence. */
export function toolsProblem(text: string): string | undefined {
  if (text.trim() === '') return undefined;
  const { value, problem } = parsed(text);
  if (problem) return `Invalid JSON: ${problem}.`;
  const isTool = (one: unknown) => isRecord(one) && (typeof one.type === 'string' || typeof one.name === 'string');
  return Array.isArray(value) && value.every(isTool) ? undefined : 'Write a list of tools, such as [{"name": "find", "parameters": {…}}].';
}

/** The fields of a request beside the model and the messages; those that were left empty are not there. */
export function fields(settings: Settings): Record<string, unknown> {
  const number = (text: string) => (text.trim() === '' ? undefined : Number(text));
  const schema = schemaProblem(settings.schema) === undefined && settings.schema.trim() !== '' ? (JSON.parse(settings.schema) as unknown) : undefined;
  const tools = toolsProblem(settings.tools) === undefined && settings.tools.trim() !== '' ? (JSON.parse(settings.tools) as Record<string, unknown>[]) : [];
  const found: Record<string, unknown> = {
    temperature: number(settings.temperature),
    max_tokens: number(settings.tokens),
    seed: number(settings.seed),
    response_format: schema === undefined ? undefined : { type: 'json_schema', json_schema: { name: 'answer', schema } },
    tools: tools.length === 0 ? undefined : tools.map((tool) => (typeof tool.type === 'string' && 'function' in tool ? tool : { type: 'function', function: tool })),
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

/** A message's content: its text alone, or its text with what is attached. */
export function contentOf(text: string, attached: readonly Attached[]): unknown {
  if (attached.length === 0) return text;
  const parts = attached.map(({ name, type, base64 }) => {
    const url = `data:${type || 'application/octet-stream'};base64,${base64}`;
    if (type.startsWith('image/')) return { type: 'image_url', image_url: { url } };
    const format = /^audio\/(?:x-)?(wav|mpeg|mp3)$/.exec(type)?.[1];
    if (format) return { type: 'input_audio', input_audio: { data: base64, format: format === 'wav' ? 'wav' : 'mp3' } };
    return { type: 'file', file: { filename: name, file_data: url } };
  });
  return text === '' ? parts : [...parts, { type: 'text', text }];
}

/** A kept request, taken apart for another try: what was said before, the system prompt and the last message. */
export function taken(messages: readonly Message[]): { system: string; before: Message[]; prompt: string; content: unknown } {
  const isSystem = (one: Message) => (one.role === 'system' || one.role === 'developer') && typeof one.content === 'string';
  const system = messages.filter(isSystem).map((one) => one.content as string).join('\n\n');
  const rest = messages.filter((one) => !isSystem(one));
  // The answer of the request itself stands last where it was kept along.
  const last = rest.map((one) => one.role).lastIndexOf('user');
  if (last < 0) return { system, before: rest, prompt: '', content: '' };
  const content = rest[last]?.content;
  const text = typeof content === 'string' ? content : Array.isArray(content) ? content.flatMap((part: { text?: unknown }) => (typeof part?.text === 'string' ? [part.text] : [])).join('\n') : '';
  return { system, before: rest.slice(0, last), prompt: text, content };
}

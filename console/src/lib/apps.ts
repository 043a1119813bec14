// An app's form out of its JSON schema, what is typed into it as the app takes it, and what came out as something to look at.

export interface Schema {
  title?: string;
  description?: string;
  type?: string | string[];
  format?: string;
  enum?: unknown[];
  default?: unknown;
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  anyOf?: Schema[];
}

export interface App {
  id: string;
  description: string;
  category: string;
  input_schema: Schema;
}

export type FieldKind = 'text' | 'long' | 'number' | 'choice' | 'flag' | 'file' | 'files' | 'json';

export interface AppField {
  name: string;
  label: string;
  hint?: string;
  kind: FieldKind;
  isRequired: boolean;
  options?: string[];
}

/** What may be read from a file or looked at, with its type. */
export interface Media {
  kind: 'image' | 'audio' | 'video' | 'file';
  uri: string;
  type: string;
  note: string;
}

const LONG = new Set(['prompt', 'text', 'system', 'negative_prompt', 'instructions', 'query']);
const ANOTHER_NAME = /^Another name of/;

/** Of a model of which nobody knows what it does, each thing that it may do. */
export function variants(schema: Schema): Schema[] {
  return schema.anyOf?.some((one) => one.properties) ? schema.anyOf : [schema];
}

/** What must be there first. A field that only repeats another is left out. */
export function appFields(schema: Schema): AppField[] {
  const required = new Set([...(schema.required ?? []), ...(schema.anyOf?.[0]?.required ?? [])]);
  const own = Object.entries(schema.properties ?? {}).filter(([, property]) => !ANOTHER_NAME.test(property.description ?? ''));
  const found = own.map(([name, property]): AppField => ({
    name,
    label: property.title ?? name,
    hint: property.description,
    kind: kindOf(name, property),
    isRequired: required.has(name),
    options: property.enum?.filter((one): one is string => typeof one === 'string'),
  }));
  return found.sort((a, b) => Number(b.isRequired) - Number(a.isRequired));
}

function kindOf(name: string, property: Schema): FieldKind {
  const types = [property.type ?? []].flat();
  if (property.format === 'file') return 'file';
  if (types.includes('array')) return property.items?.format === 'file' ? 'files' : types.includes('string') ? 'long' : 'json';
  if (property.enum) return 'choice';
  if (types.includes('boolean')) return 'flag';
  if (types.includes('integer') || types.includes('number')) return 'number';
  if (types.includes('object')) return 'json';
  return LONG.has(name) ? 'long' : 'text';
}

/** What was typed, as the app takes it; what was left empty is left out. JSON that is none goes along as a text, so that the server says so. */
export function appInput(fields: AppField[], typed: Record<string, string>, files: Record<string, string[]>): Record<string, unknown> {
  const input: Record<string, unknown> = {};
  for (const field of fields) {
    const text = (typed[field.name] ?? '').trim();
    const picked = files[field.name] ?? [];
    if (field.kind === 'file') input[field.name] = picked[0] ?? (text || undefined);
    else if (field.kind === 'files') input[field.name] = picked.length > 0 || text !== '' ? [...picked, ...text.split(/\s+/).filter(Boolean)] : undefined;
    else if (text === '') input[field.name] = undefined;
    else if (field.kind === 'number') input[field.name] = Number.isFinite(Number(text)) ? Number(text) : text;
    else if (field.kind === 'flag') input[field.name] = text === 'true';
    else if (field.kind === 'json') input[field.name] = json(text);
    else input[field.name] = text;
  }
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined));
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** What can be seen and heard of an output, and the rest of it. */
export function shown(output: unknown): { text: string; media: Media[]; rest: string } {
  const media: Media[] = [];
  const rest: Record<string, unknown> = {};
  let text = '';
  for (const [name, value] of Object.entries(isRecord(output) ? output : {})) {
    if ((name === 'response' || name === 'text') && typeof value === 'string') {
      text = value;
      continue;
    }
    const made = (Array.isArray(value) ? value : [value]).flatMap((one) => (isRecord(one) && typeof one.uri === 'string' ? [one] : []));
    if (made.length > 0) media.push(...made.map(mediaOf));
    else if (name !== 'usage') rest[name] = value;
  }
  return { text, media, rest: Object.keys(rest).length > 0 ? JSON.stringify(rest, null, 2) : '' };
}

function mediaOf(made: Record<string, unknown>): Media {
  const type = String(made.content_type ?? '');
  const kind = (['image', 'audio', 'video'] as const).find((one) => type.startsWith(`${one}/`)) ?? 'file';
  const size = typeof made.width === 'number' ? `${made.width} × ${String(made.height)}` : typeof made.seconds === 'number' ? `${made.seconds} s` : '';
  return { kind, uri: String(made.uri), type, note: [type, size].filter(Boolean).join(' · ') };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The bytes of a data URI. Only what a page may show is taken: a script in an SVG is none of it. */
export function blobOf(uri: string): Blob | undefined {
  const found = /^data:((?:image\/(?:png|jpeg|gif|webp)|audio\/[\w.+-]+|video\/[\w.+-]+));base64,([A-Za-z0-9+/=]*)$/.exec(uri);
  if (!found?.[1] || found[2] === undefined) return undefined;
  const bytes = Uint8Array.from(atob(found[2]), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: found[1] });
}

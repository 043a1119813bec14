// A form out of the JSON schema of a credential's kind, and what is typed into it as the server wants it.

import type { CredentialKind } from './wire';
import { capital, plain } from './words';

export interface SchemaField {
  name: string;
  label: string;
  hint?: string;
  isSecret: boolean;
  isRequired: boolean;
  /** Names with a text each, one of them a line. */
  isMap: boolean;
  /** A secret of many lines: the file as the cloud hands it out. */
  isFile: boolean;
  example?: string;
  options?: string[];
}

/** Those that can be chosen, each provider once: one that takes several kinds of secrets is listed with each, the usual one first. */
export function providersOf(kinds: CredentialKind[]): CredentialKind[] {
  const usable = kinds.filter((kind) => kind.available);
  return usable.filter((one, index) => usable.findIndex((other) => other.provider === one.provider) === index);
}

/** The secret first, then the other required fields, then the rest. */
export function fields(kind: CredentialKind): SchemaField[] {
  const required = new Set(kind.schema.required ?? []);
  const found = Object.entries(kind.schema.properties ?? {}).map(([name, property]) => ({
    name,
    label: property.title ?? capital(plain(name)),
    hint: property.description,
    isSecret: property.writeOnly === true,
    isRequired: required.has(name),
    isMap: property.type === 'object' && property.writeOnly !== true,
    isFile: property.type === 'object' && property.writeOnly === true,
    example: property.examples?.[0],
    options: property.enum,
  }));
  return found.sort((a, b) => Number(b.isSecret) - Number(a.isSecret) || Number(b.isRequired) - Number(a.isRequired));
}


/** Where one secret is wanted it travels as it is; several travel together. Other fields are the credential's configuration. */
export function payload(kind: CredentialKind, typed: Record<string, string>): { auth: string; secret: unknown; config?: Record<string, unknown> } {
  const given = fields(kind).filter((field) => (typed[field.name] ?? '').trim() !== '');
  const value = (field: SchemaField) => (typed[field.name] ?? '').trim();
  const secrets = given.filter((field) => field.isSecret);
  const config = Object.fromEntries(given.filter((field) => !field.isSecret).map((field) => [field.name, field.isMap ? pairs(value(field)) : value(field)]));
  const [only] = secrets;
  const secret = secrets.length === 0 ? undefined : secrets.length === 1 && only?.name === 'secret' ? value(only) : Object.fromEntries(secrets.map((field) => [field.name, value(field)]));
  return Object.keys(config).length > 0 ? { auth: kind.auth, secret, config } : { auth: kind.auth, secret };
}

/** Lines of `name = text`; a line that is none goes along whole, so that the server says what is wrong with it. */
function pairs(text: string): Record<string, string> {
  const lines = text.split('\n').map((line) => line.trim());
  return Object.fromEntries(
    lines.filter(Boolean).map((line) => {
      const at = line.indexOf('=');
      return at < 0 ? [line, ''] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    }),
  );
}

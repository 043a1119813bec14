// A form out of the JSON schema of a credential's kind, and what is typed into it as the server wants it.

import type { CredentialKind } from './wire';

export interface SchemaField {
  name: string;
  label: string;
  hint?: string;
  isSecret: boolean;
  isRequired: boolean;
  options?: string[];
}

/** The secret first, then the other required fields, then the rest. */
export function fields(kind: CredentialKind): SchemaField[] {
  const required = new Set(kind.schema.required ?? []);
  const found = Object.entries(kind.schema.properties ?? {}).map(([name, property]) => ({
    name,
    label: property.title ?? words(name),
    hint: property.description,
    isSecret: property.writeOnly === true,
    isRequired: required.has(name),
    options: property.enum,
  }));
  return found.sort((a, b) => Number(b.isSecret) - Number(a.isSecret) || Number(b.isRequired) - Number(a.isRequired));
}

function words(name: string): string {
  const text = name.replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Where one secret is wanted it travels as it is; several travel together. Other fields are the credential's configuration. */
export function payload(kind: CredentialKind, typed: Record<string, string>): { secret: unknown; config?: Record<string, string> } {
  const given = fields(kind).filter((field) => (typed[field.name] ?? '').trim() !== '');
  const value = (field: SchemaField) => (typed[field.name] ?? '').trim();
  const secrets = given.filter((field) => field.isSecret);
  const config = Object.fromEntries(given.filter((field) => !field.isSecret).map((field) => [field.name, value(field)]));
  const [only] = secrets;
  const secret = secrets.length === 1 && only?.name === 'secret' ? value(only) : Object.fromEntries(secrets.map((field) => [field.name, value(field)]));
  return Object.keys(config).length > 0 ? { secret, config } : { secret };
}

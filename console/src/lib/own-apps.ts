// Apps that a project declares: whether the secrets that they name are there, and what is typed into their form.

import { readDocument } from './flow-text';
import type { AppSecret, NamedSecret, OwnApp } from './wire';

/** The host of an address as the hosts of a secret are written: with its port where that is not the usual one. */
export function hostOf(url: string): string {
  try {
    return new URL(url).host;
  } catch {
    return '';
  }
}

export type SecretState = 'there' | 'missing' | 'other_host';

/** Whether a run of the app would find a secret that its server may be sent. */
export function secretState(app: OwnApp, name: string, secrets: NamedSecret[]): SecretState {
  const found = secrets.find((secret) => secret.name === name && secret.project_id === app.project_id);
  if (!found) return 'missing';
  return found.hosts.includes(hostOf(app.url)) ? 'there' : 'other_host';
}

/** The apps that a secret is sent for. */
export function usersOf(secret: NamedSecret, apps: OwnApp[]): OwnApp[] {
  return apps.filter((app) => app.project_id === secret.project_id && app.secrets.some((use) => use.name === secret.name));
}

/** A secret of an app as its form holds it: the header and what stands before the value count where it is no bearer token. */
export interface SecretRow {
  name: string;
  sent: 'bearer' | 'header';
  header: string;
  prefix: string;
}

export function secretRows(uses: AppSecret[]): SecretRow[] {
  return uses.map(({ name, header, prefix }) =>
    header === 'authorization' && prefix === 'Bearer ' ? { name, sent: 'bearer', header: '', prefix: '' } : { name, sent: 'header', header, prefix },
  );
}

/** As the server takes them. */
export function secretUses(rows: SecretRow[]): { name: string; header?: string; prefix?: string }[] {
  const named = rows.filter((row) => row.name.trim() !== '');
  return named.map(({ name, sent, header, prefix }) => (sent === 'bearer' ? { name: name.trim() } : { name: name.trim(), header: header.trim(), prefix }));
}

/** The JSON of a field, or why it is none. An empty field has no value. */
export function readJson(text: string): { value?: unknown; wrong?: string } {
  if (text.trim() === '') return {};
  const read = readDocument(text);
  return read.problem ? { wrong: `Line ${read.problem.line}: ${read.problem.message}` } : { value: read.value };
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The JSON merge patch that makes one value of another: what is not in it any more is null, and what stays as it is, is left out. */
export function mergePatch(before: unknown, after: unknown): unknown {
  if (!isRecord(before) || !isRecord(after)) return after;
  const gone = Object.keys(before).filter((name) => after[name] === undefined);
  const changed = Object.entries(after).filter(([name, value]) => value !== undefined && JSON.stringify(value) !== JSON.stringify(before[name]));
  return Object.fromEntries([...gone.map((name) => [name, null]), ...changed.map(([name, value]) => [name, mergePatch(before[name], value)])]);
}

// A route in words, and its form.

import { profileLabel } from './series';
import { t } from './text';
import type { RouteConditions, RouteRule, TimeWindow } from './wire';
import { plain } from './words';

export const SCOPES = ['model', 'alias', 'tag', 'key_id', 'project_id', 'environment', 'provider', 'modality'] as const;
export type Scope = (typeof SCOPES)[number];

/** What a strategy does, for a form and for a sentence. */
export const STRATEGIES: [name: string, label: string, effect: string][] = [
  ['none', 'As listed, then oldest first', ''],
  ['committed_first', 'Committed capacity first', 'committed capacity first'],
  ['cheapest', 'Cheapest first', 'the cheapest first'],
  ['fastest', 'Fastest first', 'the fastest first'],
  ['balanced', 'Balanced by load', 'balanced by load'],
  ['local_first', 'Nodes, own keys, managed', 'nodes first, then your own keys, then managed accounts'],
  ['byok_strict', 'Own keys only', 'your own keys only, even if they fail'],
];

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];

const ORDER: Scope[] = ['tag', 'key_id', 'project_id', 'alias', 'model', 'modality', 'provider', 'environment'];

/** The most telling scope first, as the broker looks for them; rules of the same kind by their name. */
export function ordered(rules: RouteRule[]): RouteRule[] {
  const rank = (rule: RouteRule) => {
    const at = ORDER.findIndex((scope) => rule.scope[scope] !== undefined);
    return at < 0 ? ORDER.length : at;
  };
  return [...rules].sort((a, b) => rank(a) - rank(b) || (JSON.stringify(a.scope) < JSON.stringify(b.scope) ? -1 : 1));
}

export function scopeWords(rule: RouteRule, name: (id: string) => string | undefined): string {
  const isPattern = /[*/]$/.test(rule.scope.model ?? '');
  const words: Record<Scope, string> = { model: isPattern ? 'models matching' : 'the model', alias: 'the alias', tag: 'the tag', key_id: 'the key', project_id: 'the project', environment: 'the environment', provider: 'the provider', modality: 'the modality' };
  const parts = ORDER.filter((scope) => rule.scope[scope] !== undefined).map((scope) => `${words[scope]} ${name(rule.scope[scope] ?? '') ?? rule.scope[scope]}`);
  const conditions = conditionWords(rule.when ?? {});
  return [parts.length === 0 ? t('everything') : parts.join(' and '), ...conditions].join(', ');
}

export function windowWords({ weekdays, from, to, utc_offset: offset }: TimeWindow): string {
  const days = weekdays.length === WEEKDAYS.length ? 'every day' : weekdays.join(' ');
  const hours = from === to ? '' : ` ${from} to ${to}`;
  return `${days}${hours} (UTC${offset === '+00:00' ? '' : offset})`;
}

export function conditionWords(when: RouteConditions): string[] {
  const said: string[] = [];
  const { prompt_tokens_min: min, prompt_tokens_max: max, time } = when;
  if (min !== undefined && max !== undefined) said.push(`prompts of ${min} to ${max} tokens`);
  else if (min !== undefined) said.push(`prompts of at least ${min} tokens`);
  else if (max !== undefined) said.push(`prompts of at most ${max} tokens`);
  if (when.has_tools !== undefined) said.push(when.has_tools ? 'with tools' : 'without tools');
  if (time) said.push(windowWords(time));
  for (const [key, value] of Object.entries(when.metadata ?? {})) said.push(`metadata ${key}=${value}`);
  if (when.end_user !== undefined) said.push(`the end user ${when.end_user}`);
  return said;
}

/** What a route does, as one sentence. */
export function sentence(rule: RouteRule, name: (id: string) => string | undefined): string {
  const [scope, ...conditions] = scopeWords(rule, name).split(', ');
  const done = effects(rule, name);
  return `${scope === 'everything' ? 'All requests' : `Requests for ${scope}`}${conditions.length > 0 ? ` (${conditions.join(', ')})` : ''}: ${done.join('; ')}.`;
}

export interface Template {
  name: string;
  /** What is set; the rest is empty. */
  set: Partial<Pick<RouteRule, 'strategy' | 'profiles' | 'byok_fallback' | 'when'>>;
}

/** Where many routes begin. `offset` is that of the clock on the wall, as `+02:00`. */
export function templates(offset: string): Template[] {
  return [
    { name: 'Own key first, then managed', set: { profiles: ['byok', 'managed_provider'], byok_fallback: 'managed' } },
    { name: 'Own nodes only', set: { profiles: ['byoc'] } },
    { name: 'Nodes first, then own keys, then managed', set: { strategy: 'local_first' } },
    { name: 'Cheap at night', set: { strategy: 'cheapest', when: { time: { weekdays: WEEKDAYS, from: '22:00', to: '06:00', utc_offset: offset } } } },
  ];
}

/** An offset from UTC as routes take it, out of minutes west of it, as a `Date` has them. */
export function offsetWords(minutesWest: number): string {
  const minutes = Math.abs(minutesWest);
  const two = (value: number) => String(value).padStart(2, '0');
  return `${minutesWest > 0 ? '-' : '+'}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}

export function effects(rule: RouteRule, name: (id: string) => string | undefined): string[] {
  const said: string[] = [];
  const strategy = STRATEGIES.find(([known]) => known === rule.strategy)?.[2];
  if (strategy) said.push(strategy);
  if (rule.profiles.length > 0) said.push(`served by ${rule.profiles.map(profileLabel).join(', then ')}`);
  if (rule.providers.length > 0) said.push(`at ${rule.providers.join(', then ')}`);
  if (rule.credential_ids.length > 0) said.push(`with ${rule.credential_ids.map((id) => name(id) ?? id).join(', then ')}`);
  if (rule.node_labels.length > 0) said.push(`on nodes labelled ${rule.node_labels.join(', ')}`);
  if (rule.regions.length > 0) said.push(`in ${rule.regions.join(', ')}`);
  if (rule.byok_fallback !== 'never') said.push(`falls back to ${rule.byok_fallback} accounts if they fail`);
  if (rule.fallback_on.length > 0) said.push(`on ${plain(rule.fallback_on.join(', '))}`);
  for (const { on, model } of rule.model_fallbacks ?? []) said.push(`falls back to ${model} on ${plain(on.join(', '))}`);
  if (rule.overflow) said.push(`overflows to ${rule.overflow} accounts`);
  if (rule.emergency) said.push('uses emergency accounts when all others fail');
  if (rule.hosted_tools) said.push('drops provider tools that the target lacks');
  const times: [string, number | undefined][] = [
    ['waits for headers', rule.head_wait_ms],
    ['for a first byte', rule.first_byte_timeout_ms],
    ['between bytes', rule.idle_timeout_ms],
    ['in total', rule.deadline_ms],
  ];
  for (const [what, ms] of times) if (ms) said.push(`${what} at most ${ms} ms`);
  if (rule.hedge_after_ms) said.push(`hedges after ${rule.hedge_after_ms} ms of silence`);
  if (rule.priority !== undefined) said.push(`caps the priority at ${rule.priority}`);
  return said.length === 0 ? ['the default order'] : said;
}

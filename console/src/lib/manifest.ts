// What providers and their models can do, in words: which facts belong together, and which of them hold for one model.

import { count, many, percents } from './format';
import { t } from './text';
import type { Fact, Facts, FactValue, ProviderManifest } from './wire';
import { capital, plain } from './words';

export interface FactGroup {
  name: string;
  facts: [name: string, label: string][];
}

export const GROUPS: FactGroup[] = [
  {
    name: 'Requests',
    facts: [
      ['grammars', 'API formats, preferred first'],
      ['context_window_max_tokens', 'Context window'],
      ['structured_output', 'Structured output'],
      ['parallel_tools', 'Parallel tool calls'],
      ['forced_tools', 'Forced tool calls'],
      ['thinking', 'Reasoning control'],
      ['efforts', 'Effort levels'],
      ['thinking_off', 'Reasoning can be turned off'],
      ['refuses_sampling', 'Rejects sampling parameters'],
      ['developer_role', 'Developer role'],
      ['old_length_name', 'Uses max_tokens'],
      ['service_tiers', 'Service tiers'],
      ['live_search_supported', 'Web search'],
    ],
  },
  {
    name: 'Input',
    facts: [
      ['multimodal_input_supported', 'Multimodal input'],
      ['vision', 'Images'],
      ['audio_input', 'Audio'],
      ['video_input', 'Video'],
      ['documents', 'Documents'],
    ],
  },
  {
    name: 'Prompt cache',
    facts: [
      ['prompt_cache_supported', 'Supported'],
      ['prompt_cache_type', 'How prompts get cached'],
      ['cache_marks', 'Cache breakpoints'],
      ['prompt_cache_marks_max', 'Most breakpoints'],
      ['prompt_cache_min_tokens', 'Minimum prefix length'],
      ['prompt_cache_step_tokens', 'Cache increment'],
      ['prompt_cache_discount_pct', 'Cached read discount'],
      ['prompt_cache_write_pct', 'Cache write, % of the input price'],
      ['prompt_cache_extended_write_pct', 'Long-lived cache write, % of the input price'],
      ['prompt_cache_default_ttl_seconds', 'Lifetime'],
      ['prompt_cache_extended_ttl_seconds', 'Long-lived lifetime'],
      ['prompt_cache_isolation', 'Cache scope'],
      ['prompt_cache_affinity', 'Cache routing fields'],
      ['cached_token_reporting', 'Reports cached tokens'],
      ['manual_cache_clear_supported', 'Can be purged'],
      ['purge', 'Purge guarantee'],
    ],
  },
  {
    name: 'Jobs and stored state',
    facts: [
      ['batch_api_supported', 'Batches'],
      ['batch_api_discount_pct', 'Batch discount'],
      ['batch_api_max_latency_seconds', 'Batch completion window'],
      ['response_retrieval_supported', 'Stored responses'],
      ['conversation_state_supported', 'Stored conversations'],
      ['background_mode_supported', 'Background responses'],
      ['dedicated_deployment_available', 'Dedicated deployments'],
      ['speculative_decoding_supported', 'Predicted output'],
    ],
  },
  {
    name: 'Data',
    facts: [
      ['data_retention_class', 'Data retention'],
      ['data_retention_days_max', 'Longest retention'],
      ['zero_retention_available', 'Zero retention available'],
      ['region_support', 'Regions'],
    ],
  },
];

const LABELS = new Map(GROUPS.flatMap((group) => group.facts));

/** A fact's name in words; one of a newer server by its own name. */
export function label(name: string): string {
  return LABELS.get(name) ?? capital(plain(name));
}

export interface Stated extends Fact {
  name: string;
}

/** What is said, group by group; what no group knows comes last. Groups of which nothing is said are left out. */
export function grouped(facts: Facts): { name: string; facts: Stated[] }[] {
  const known = GROUPS.map((group) => ({ name: group.name, facts: group.facts.flatMap(([name]) => stated(facts, name)) }));
  const others = Object.keys(facts).filter((name) => !LABELS.has(name));
  return [...known, { name: 'More', facts: others.flatMap((name) => stated(facts, name)) }].filter((group) => group.facts.length > 0);
}

function stated(facts: Facts, name: string): Stated[] {
  const fact = facts[name];
  return fact ? [{ name, ...fact }] : [];
}

const UNITS: [ending: string, words: (value: number) => string][] = [
  ['_tokens', (value) => many(value, 'token')],
  ['_pct', (value) => percents(value)],
  ['_seconds', span],
  ['_days_max', (value) => many(value, 'day')],
];

/** A value as a person reads it, or nothing where nobody read one. */
export function words(name: string, value: FactValue | undefined): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'boolean') return value ? t('yes') : t('no');
  if (Array.isArray(value)) return value.length === 0 ? t('none') : value.join(', ');
  if (typeof value === 'string') return plain(value);
  const unit = UNITS.find(([ending]) => name.endsWith(ending));
  return unit ? unit[1](value) : count(value);
}

/** The largest unit that says it exactly. */
function span(seconds: number): string {
  if (seconds >= 86_400 && seconds % 86_400 === 0) return many(seconds / 86_400, 'day');
  if (seconds >= 3_600 && seconds % 3_600 === 0) return many(seconds / 3_600, 'hour');
  return seconds >= 60 && seconds % 60 === 0 ? many(seconds / 60, 'minute') : many(seconds, 'second');
}

/**
 * All that holds for one model by its name at the provider, as the server reads it: a row of the exact name is the strongest,
 * then the longest beginning, then what the provider says of all.
 */
export function factsOf(manifest: ProviderManifest, upstream: string): Facts {
  const name = upstream.slice(upstream.lastIndexOf('/') + 1);
  const speaking = manifest.models.flatMap((row) => row.names.filter((pattern) => holds(pattern, name)).map((pattern) => ({ pattern, facts: row.facts })));
  speaking.sort((a, b) => rank(a.pattern) - rank(b.pattern));
  return Object.assign({}, manifest.facts, ...speaking.map((row) => row.facts)) as Facts;
}

/** The same with the model's own context: what the provider says of all is the longest that any of its models has. */
export function factsOfModel(manifest: ProviderManifest, upstream: string, contextTokens: number | null): Facts {
  const { context_window_max_tokens: longest, ...facts } = factsOf(manifest, upstream);
  if (contextTokens === null) return longest === manifest.facts.context_window_max_tokens ? facts : { ...facts, context_window_max_tokens: longest! };
  return { ...facts, context_window_max_tokens: { value: contextTokens, source: 'this model’s catalogue entry' } };
}

function holds(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}

function rank(pattern: string): number {
  return pattern.endsWith('*') ? pattern.length : Infinity;
}

export interface Piece {
  text: string;
  href?: string;
}

/** The day that a source is of, where it says one, and the day it was read. */
export function dated(checked?: string, asOf?: string | null): string {
  if (!asOf || asOf === checked) return checked ?? '';
  return checked ? `of ${asOf}, read ${checked}` : `of ${asOf}`;
}

/** The addresses in a source are links; the words between them stay words. Only what leads to a web page is a link. */
export function pieces(source: string): Piece[] {
  return source
    .split(/(https?:\/\/[^\s,()]+)/)
    .filter((text) => text !== '')
    .map((text) => (/^https?:\/\//.test(text) && URL.canParse(text) ? { text, href: text } : { text }));
}

// What providers and their models can do, in words: which facts belong together, and which of them hold for one model.

import type { Fact, Facts, FactValue, ProviderManifest } from './wire';

export interface FactGroup {
  name: string;
  facts: [name: string, label: string][];
}

export const GROUPS: FactGroup[] = [
  {
    name: 'Requests',
    facts: [
      ['grammars', 'Grammars, the preferred one first'],
      ['context_window_max_tokens', 'Longest context'],
      ['structured_output', 'Structured output'],
      ['parallel_tools', 'Several tool calls at once'],
      ['forced_tools', 'A tool call can be demanded'],
      ['thinking', 'Reasoning control'],
      ['efforts', 'Effort levels'],
      ['thinking_off', 'Thinking can be turned off'],
      ['refuses_sampling', 'Refuses temperature and its like'],
      ['developer_role', 'Developer role'],
      ['old_length_name', 'Length is asked for as max_tokens'],
      ['service_tiers', 'Service tiers'],
      ['live_search_supported', 'Searches the web'],
    ],
  },
  {
    name: 'Input',
    facts: [
      ['multimodal_input_supported', 'More than text'],
      ['vision', 'Images'],
      ['audio_input', 'Audio'],
      ['video_input', 'Video'],
      ['documents', 'Documents'],
    ],
  },
  {
    name: 'Prompt cache',
    facts: [
      ['prompt_cache_supported', 'There is one'],
      ['prompt_cache_type', 'How a prompt comes into it'],
      ['cache_marks', 'Takes cache marks'],
      ['prompt_cache_marks_max', 'Most marks'],
      ['prompt_cache_min_tokens', 'Shortest cached prefix'],
      ['prompt_cache_step_tokens', 'Cached in steps of'],
      ['prompt_cache_discount_pct', 'A cached read costs less by'],
      ['prompt_cache_write_pct', 'A write costs, of the input price'],
      ['prompt_cache_extended_write_pct', 'A long-lived write costs, of the input price'],
      ['prompt_cache_default_ttl_seconds', 'Kept for'],
      ['prompt_cache_extended_ttl_seconds', 'Long-lived, kept for'],
      ['prompt_cache_isolation', 'Shared within'],
      ['prompt_cache_affinity', 'Fields that lead to it'],
      ['cached_token_reporting', 'Cached tokens are told'],
      ['manual_cache_clear_supported', 'Can be cleared'],
      ['purge', 'What can be done before it expires'],
    ],
  },
  {
    name: 'Jobs and state',
    facts: [
      ['batch_api_supported', 'Batches'],
      ['batch_api_discount_pct', 'A batch costs less by'],
      ['batch_api_max_latency_seconds', 'A batch takes at most'],
      ['response_retrieval_supported', 'Answers can be fetched again'],
      ['conversation_state_supported', 'Keeps conversations'],
      ['background_mode_supported', 'Answers in the background'],
      ['dedicated_deployment_available', 'Dedicated deployments'],
      ['speculative_decoding_supported', 'Predicted output'],
    ],
  },
  {
    name: 'Data',
    facts: [
      ['data_retention_class', 'What it keeps'],
      ['data_retention_days_max', 'Kept at most'],
      ['zero_retention_available', 'Keeping nothing can be agreed'],
      ['region_support', 'Regions'],
    ],
  },
];

const LABELS = new Map(GROUPS.flatMap((group) => group.facts));

/** A fact's name in words; one of a newer server by its own name. */
export function label(name: string): string {
  return LABELS.get(name) ?? sentence(name);
}

function sentence(name: string): string {
  const words = name.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
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

const grouping = new Intl.NumberFormat('en-US');
const UNITS: [ending: string, words: (value: number) => string][] = [
  ['_tokens', (value) => `${grouping.format(value)} tokens`],
  ['_pct', (value) => `${value}%`],
  ['_seconds', span],
  ['_days_max', (value) => `${value} day${value === 1 ? '' : 's'}`],
];

/** A value as a person reads it, or nothing where nobody read one. */
export function words(name: string, value: FactValue | undefined): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.join(', ');
  if (typeof value === 'string') return value.replaceAll('_', ' ');
  const unit = UNITS.find(([ending]) => name.endsWith(ending));
  return unit ? unit[1](value) : grouping.format(value);
}

/** The largest unit that says it exactly. */
function span(seconds: number): string {
  const units: [number, string][] = [
    [86_400, 'day'],
    [3_600, 'hour'],
    [60, 'minute'],
  ];
  const [size, unit] = units.find(([size]) => seconds >= size && seconds % size === 0) ?? [1, 'second'];
  const value = seconds / size;
  return `${grouping.format(value)} ${unit}${value === 1 ? '' : 's'}`;
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
  return { ...facts, context_window_max_tokens: { value: contextTokens, source: 'the catalogue’s row of this model' } };
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

// Filters as text: the server reads them (docs/api.md has the grammar); here they are taken apart into terms, completed and
// put together again. What they mean, and what is wrong with one, is the server's to say.

export const FIELDS = [
  'model', 'provider', 'profile', 'mode', 'key', 'project', 'environment', 'region', 'operation', 'outcome', 'error', 'refused_by', 'tag', 'qos_class', 'session', 'end_user', 'task', 'agent', 'adapter', 'credential', 'node', 'cache_tier', 'status',
  'cost', 'provider_cost', 'input', 'output', 'cached', 'attempts', 'latency', 'ttft', 'since', 'until',
] as const;
export type Field = (typeof FIELDS)[number];

/** What only single requests have, and sums over them don't. */
const OF_REQUESTS: readonly Field[] = ['error', 'refused_by', 'session', 'end_user', 'task', 'cost', 'provider_cost', 'input', 'output', 'cached', 'attempts', 'latency', 'ttft'];

export const VALUES: Partial<Record<Field, string[]>> = {
  profile: ['byok', 'subscription', 'managed_provider', 'byoc'],
  mode: ['mi', 'byok', 'byoc'],
  outcome: ['completed', 'cut', 'failed', 'client_cancelled', 'interrupted', 'deadline'],
  qos_class: ['interactive', 'standard', 'background', 'batch'],
  cache_tier: ['provider', 'response', 'unknown'],
  status: ['error', 'ok', '4xx', '5xx', '429'],
  cost: ['>0.01'],
  latency: ['>1s'],
  ttft: ['>500ms'],
  since: ['1h', '24h', '7d'],
};

export interface Term {
  field: Field;
  /** As it is shown, without quotes. */
  value: string;
  /** As it stands in the filter. */
  text: string;
}

export interface Filter {
  terms: Term[];
  /** What can't be taken apart, as a sentence. */
  problem?: string;
}

const WORD = /-?[A-Za-z0-9_]+(?::(?:[<>]=?|=)?|[<>]=?|=)(?:"(?:[^"\\]|\\.)*"?\*?|\S*)|\S+/g;
const TERM = /^(-?)([A-Za-z0-9_]+)(:(?:[<>]=?|=)?|[<>]=?|=)([^]*)$/;

export function readFilter(text: string): Filter {
  const terms: Term[] = [];
  for (const word of text.match(WORD) ?? []) {
    const [, not, field = '', sign = '', value = ''] = TERM.exec(word) ?? [];
    if (field === '') return { terms, problem: `“${word}” isn’t a filter. Write field:value, such as model:echo or status:error.` };
    if (!isField(field)) return { terms, problem: `${field} isn’t a filter field. Use one of: ${FIELDS.join(', ')}.` };
    if (value === '') return { terms, problem: `${field} needs a value.` };
    terms.push({ field, value: `${not ? 'not ' : ''}${sign.replace(/^:=?|^=$/, '')}${unquoted(value)}`, text: word });
  }
  return { terms };
}

export function isField(name: string): name is Field {
  return (FIELDS as readonly string[]).includes(name);
}

function unquoted(text: string): string {
  const inner = /^"([^]*)"(\*?)$/.exec(text);
  return inner ? (inner[1] ?? '').replace(/\\(.)/gs, '$1') + (inner[2] ?? '') : text;
}

/** One term that is exactly this value. */
export function term(field: Field, value: string): string {
  const isPlain = value !== '' && !/[\s"\\*]|^[<>=]/.test(value);
  return `${field}:${isPlain ? value : `"${value.replace(/["\\]/g, '\\$&')}"`}`;
}

export function withTerm(text: string, field: Field, value: string): string {
  const others = readFilter(text).terms.filter((one) => one.field !== field);
  return [...others.map((one) => one.text), term(field, value)].join(' ');
}

/** The filter without the term that stands there. */
export function withoutTerm(text: string, place: number): string {
  return readFilter(text).terms.filter((_, at) => at !== place).map((one) => one.text).join(' ');
}

/** The part of a filter that sums can be told by. */
export function ofSums(text: string): string {
  return readFilter(text).terms.filter(({ field }) => !OF_REQUESTS.includes(field)).map((one) => one.text).join(' ');
}

interface Counted {
  requests: number;
  unattempted_requests: number;
}

/** The rows that a sum counts: requests that were refused before an attempt are in the list, and in no sum. */
export function counted(text: string, sum: Counted): string {
  return sum.unattempted_requests > 0 ? `${text} attempts:>0`.trim() : text;
}

/** The rows that were not completed, those that were refused before an attempt among them. */
export function uncompleted(text: string): string {
  return `${text} -outcome:completed`.trim();
}

/** The rows that a sum counts as failed: whatever reached an attempt and was not completed. */
export function failed(text: string): string {
  return `${text} attempts:>0 -outcome:completed`.trim();
}

/** The rows that were refused before an attempt. */
export function unattempted(text: string): string {
  return `${text} attempts:0`.trim();
}

/** What a half-typed filter could go on as. */
export function completions(text: string, known: (field: Field) => string[]): string[] {
  const start = text.search(/\S*$/);
  const [done, word] = [text.slice(0, start), text.slice(start)];
  const [, not = '', name = '', rest] = /^(-?)([A-Za-z0-9_]*)(?::([^]*))?$/.exec(word) ?? [];
  if (rest === undefined) {
    const given = new Set(readFilter(done).terms.map((one) => one.field));
    return FIELDS.filter((field) => field.startsWith(name) && !given.has(field)).map((field) => `${done}${not}${field}:`);
  }
  if (!isField(name)) return [];
  const begun = rest.toLowerCase();
  const offers = VALUES[name];
  const values = offers ?? known(name);
  return values
    .filter((value) => value.toLowerCase().includes(begun) && value !== begun)
    .slice(0, 8)
    .map((value) => `${done}${not}${offers ? `${name}:${value}` : term(name, value)} `);
}

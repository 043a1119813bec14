// One grammar for filters, in the address bar, in the filter field and on the command line: `model:echo status:429`.

export const FIELDS = ['model', 'provider', 'profile', 'key', 'project', 'environment', 'status', 'outcome', 'tag'] as const;
export type Field = (typeof FIELDS)[number];

export const VALUES: Partial<Record<Field, string[]>> = {
  profile: ['byok', 'managed_provider', 'byoc'],
  outcome: ['completed', 'failed', 'client_cancelled', 'interrupted', 'deadline'],
};

export interface Term {
  field: Field;
  value: string;
}

export interface Filter {
  terms: Term[];
  /** What can't be read, as a sentence. */
  problem?: string;
}

export function readFilter(text: string): Filter {
  const terms: Term[] = [];
  for (const word of words(text)) {
    const colon = word.indexOf(':');
    if (colon < 1) {
      return { terms, problem: `“${word}” is no filter. Write field:value, such as model:echo or outcome:failed.` };
    }
    const field = word.slice(0, colon);
    const value = unquoted(word.slice(colon + 1));
    if (!isField(field)) {
      return { terms, problem: `${field} can't be filtered by. These can: ${FIELDS.join(', ')}.` };
    }
    if (value === '') return { terms, problem: `${field} needs a value.` };
    if (/^[<>]/.test(value) || value.includes('*')) {
      return { terms, problem: `This version compares whole values: write ${field}:VALUE without <, > or *.` };
    }
    if (terms.some((term) => term.field === field)) return { terms, problem: `${field} is given twice.` };
    terms.push({ field, value });
  }
  return { terms };
}

export function isField(name: string): name is Field {
  return (FIELDS as readonly string[]).includes(name);
}

function words(text: string): string[] {
  return text.match(/[^\s"]*"[^"]*"|\S+/g) ?? [];
}

function unquoted(text: string): string {
  return text.startsWith('"') && text.endsWith('"') && text.length > 1 ? text.slice(1, -1) : text;
}

export function writeFilter(terms: Term[]): string {
  return terms.map(({ field, value }) => `${field}:${/\s/.test(value) ? `"${value}"` : value}`).join(' ');
}

export function withTerm(text: string, field: Field, value: string): string {
  const others = readFilter(text).terms.filter((term) => term.field !== field);
  return writeFilter([...others, { field, value }]);
}

export function withoutTerm(text: string, field: Field): string {
  return writeFilter(readFilter(text).terms.filter((term) => term.field !== field));
}

const PARAMETERS: Partial<Record<Field, string>> = { key: 'key_id', project: 'project_id' };

/** The filter as the server's query. A key or project may be given by its name. */
export function filterQuery(terms: Term[], idOf: (field: Field, name: string) => string): Record<string, string> {
  return Object.fromEntries(terms.map(({ field, value }) => [PARAMETERS[field] ?? field, field in PARAMETERS ? idOf(field, value) : value]));
}

/** What a half-typed filter could go on as. */
export function completions(text: string, known: (field: Field) => string[]): string[] {
  const start = text.search(/\S*$/);
  const [done, word] = [text.slice(0, start), text.slice(start)];
  const colon = word.indexOf(':');
  if (colon < 0) {
    const given = new Set(readFilter(done).terms.map((term) => term.field));
    return FIELDS.filter((field) => field.startsWith(word) && !given.has(field)).map((field) => `${done}${field}:`);
  }
  const field = word.slice(0, colon);
  if (!isField(field)) return [];
  const begun = word.slice(colon + 1).toLowerCase();
  const values = VALUES[field] ?? known(field);
  return values
    .filter((value) => value.toLowerCase().includes(begun) && value !== begun)
    .slice(0, 8)
    .map((value) => `${done}${writeFilter([{ field, value }])} `);
}

// The catalog of texts in gettext's form, which translators' tools read: where each text stands, what its values are, its translation.

import { find, type Found } from './find.ts';

export interface Entry {
  message: string;
  /** A count and its noun, `{count} request`: English adds an s, other languages have more forms. */
  isPlural: boolean;
  /** What the text is: the element, attribute or property that shows it. */
  places: Set<string>;
  files: Set<string>;
  /** The sources of values whose names don't say what they are. */
  values: Map<string, string>;
}

/** Translations by message: one, or for a plural one for each form. */
export type Translations = Map<string, string[]>;

const WIDTH = 110;

export const plural = (one: string): [string, string] => [`{count} ${one}`, `{count} ${one}s`];

/** What all sources show, in the order of the sources. */
export function collect(sources: { path: string; source: string }[]): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  for (const { path, source } of sources) for (const found of find(source, path)) add(entries, path, source, found);
  return entries;
}

export function keyOf({ kind, message }: Pick<Found, 'kind' | 'message'>): string {
  return kind === 'plural' ? plural(message)[0] : message;
}

function add(entries: Map<string, Entry>, path: string, source: string, found: Found): void {
  const key = keyOf(found);
  const isPlural = found.kind === 'plural';
  const entry: Entry = entries.get(key) ?? { message: key, isPlural, places: new Set(), files: new Set(), values: new Map() };
  entry.places.add(found.place);
  entry.files.add(path);
  for (const { token, start, end } of found.slots) {
    if (/^\{(value|if|each)\d*\}$/.test(token) && !entry.values.has(token)) entry.values.set(token, excerpt(source.slice(start, end)));
  }
  entries.set(key, entry);
}

function excerpt(code: string): string {
  const line = code.replace(/\s+/g, ' ');
  return line.length > WIDTH - 20 ? `${line.slice(0, WIDTH - 20)}…` : line;
}

/** The catalog as a file: a template without translations, or one language's. */
export function write(entries: Iterable<Entry>, language = '', translations: Translations = new Map()): string {
  const blocks = [head(language)];
  for (const entry of entries) {
    const forms = translations.get(entry.message) ?? [];
    const lines = [...wrapped('#. in ', [...entry.places].slice(0, 6).join(', ')), ...[...entry.values].map(([token, code]) => `#. ${token} is ${code}`), ...wrapped('#: ', [...entry.files].join(' '))];
    lines.push(...quoted('msgid', entry.message));
    if (entry.isPlural) {
      lines.push(...quoted('msgid_plural', `${entry.message}s`));
      const count = Math.max(forms.length, language === '' ? 2 : categories(language).length);
      for (let at = 0; at < count; at += 1) lines.push(...quoted(`msgstr[${at}]`, forms[at] ?? ''));
    } else lines.push(...quoted('msgstr', forms[0] ?? ''));
    blocks.push(lines.join('\n'));
  }
  return `${blocks.join('\n\n')}\n`;
}

function head(language: string): string {
  return ['# The texts of the console, written by `npm run texts`. docs/console.md says how to add a language.', 'msgid ""', 'msgstr ""', `"Language: ${language}\\n"`, '"Content-Type: text/plain; charset=UTF-8\\n"'].join('\n');
}

function wrapped(lead: string, words: string): string[] {
  const lines: string[] = [];
  let line = lead.trimEnd();
  for (const word of words.split(' ')) {
    if (line.length + word.length + 1 > WIDTH && line.length > 3) {
      lines.push(line);
      line = lead.slice(0, 2);
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

function quoted(keyword: string, text: string): string[] {
  const escape = (piece: string) => `"${piece.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n').replace(/\t/g, '\\t')}"`;
  if (keyword.length + text.length + 3 <= WIDTH && !text.includes('\n')) return [`${keyword} ${escape(text)}`];
  const pieces: string[] = [];
  for (const word of text.match(/[^ \n]*[ \n]*/g) ?? []) {
    const last = pieces.at(-1);
    if (last === undefined || last.length + word.length > WIDTH - 2 || last.endsWith('\n')) pieces.push(word);
    else pieces[pieces.length - 1] = last + word;
  }
  return [`${keyword} ""`, ...pieces.filter(Boolean).map(escape)];
}

/** Reads the translations of a catalog; what has none is left out. */
export function read(file: string): Translations {
  const translations: Translations = new Map();
  for (const block of file.split(/\n\s*\n/)) {
    const fields = new Map<string, string>();
    let field = '';
    for (const line of block.split('\n').filter((one) => !one.startsWith('#'))) {
      const found = /^(?:(msg\w+(?:\[\d\])?) )?(".*")\s*$/.exec(line);
      if (!found) continue;
      field = found[1] ?? field;
      fields.set(field, (fields.get(field) ?? '') + (JSON.parse(found[2]) as string));
    }
    const forms = fields.has('msgstr') ? [fields.get('msgstr') ?? ''] : [...fields].filter(([name]) => name.startsWith('msgstr[')).map(([, text]) => text);
    const message = fields.get('msgid');
    if (message && forms.length > 0 && forms.every((form) => form !== '')) translations.set(message, forms);
  }
  return translations;
}

const ORDER: Intl.LDMLPluralRule[] = ['zero', 'one', 'two', 'few', 'many', 'other'];

/** The plural forms of a language, in the order in which a catalog has them. */
export function categories(language: string): Intl.LDMLPluralRule[] {
  const known = new Set(new Intl.PluralRules(language).resolvedOptions().pluralCategories);
  return ORDER.filter((one) => known.has(one));
}

/** What keeps a translation from being built: values and elements that it lost or made up, or code within its words. */
export function problem(message: string, forms: string[]): string | undefined {
  const wanted = tokens(message).sort().join(' ');
  for (const form of forms) {
    const found = tokens(form).sort().join(' ');
    if (found !== wanted) return `“${form}” has ${found || 'no values'}, and “${message}” has ${wanted || 'none'}`;
  }
  return undefined;
}

export const TOKEN = /(<\/?[a-z][a-z0-9]*>|\{\w+\})/;

function tokens(text: string): string[] {
  return text.split(TOKEN).filter((_, at) => at % 2 === 1);
}

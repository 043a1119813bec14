// Puts another language's texts into the sources before they are compiled: what is built has one language and looks nothing up.

import { existsSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Plugin } from 'vite';
import { categories, keyOf, problem, read, TOKEN, type Translations } from './catalog.ts';
import { find, type Found } from './find.ts';

/** The source with the texts that are translated; the others stay as they are. */
export function translate(source: string, path: string, language: string, translations: Translations): string {
  return new Translator(source, language, translations).range(0, source.length, find(source, path));
}

class Translator {
  constructor(
    private readonly source: string,
    private readonly language: string,
    private readonly translations: Translations,
  ) {}

  /** A part of the source; a text may hold others in its values and elements. */
  range(start: number, end: number, all: Found[]): string {
    const within = all.filter((one) => one.start >= start && one.end <= end);
    let made = '';
    let at = start;
    for (const one of within) {
      if (one.start < at) continue;
      const inner = within.filter((other) => other !== one && other.start >= one.start && other.end <= one.end);
      made += this.source.slice(at, one.start) + this.text(one, inner);
      at = one.end;
    }
    return made + this.source.slice(at, end);
  }

  private text(one: Found, inner: Found[]): string {
    const forms = this.translations.get(keyOf(one));
    if (!forms) return this.range(one.start, one.end, inner);
    const wrong = problem(keyOf(one), forms);
    if (wrong) throw new Error(`The ${this.language} translation can’t be used: ${wrong}.`);
    if (one.kind === 'plural') return this.plural(forms);
    const words = forms[0] ?? '';
    if (one.kind === 'literal') return JSON.stringify(words);
    const slots = new Map(one.slots.map((slot) => [slot.token, slot]));
    const pieces = words.split(TOKEN).map((piece) => {
      const slot = slots.get(piece);
      return slot ? this.slot(one, this.range(slot.start, slot.end, inner)) : ESCAPES[one.kind](piece);
    });
    if (one.kind === 'template') return `\`${pieces.join('')}\``;
    return one.kind === 'attribute' && this.source[one.start - 1] === '=' ? `"${pieces.join('')}"` : pieces.join('');
  }

  private slot({ kind }: Found, code: string): string {
    return kind === 'template' ? `\${${code}}` : code;
  }

  private plural(forms: string[]): string {
    const named = categories(this.language).map((category, at) => [category, forms[at] ?? forms.at(-1)]);
    return JSON.stringify({ ...Object.fromEntries(named), other: forms.at(-1) });
  }
}

/** Words as they stand in each kind of source. Entities are kept: English has them in its messages, too. */
const ESCAPES: Record<Found['kind'], (words: string) => string> = {
  markup: (words) => words.replace(/</g, '&lt;').replace(/\{/g, '&#123;').replace(/\}/g, '&#125;'),
  attribute: (words) => words.replace(/"/g, '&quot;').replace(/\{/g, '&#123;').replace(/\}/g, '&#125;'),
  template: (words) => words.replace(/[\\`]/g, '\\$&').replace(/\$\{/g, '\\${'),
  literal: (words) => words,
  plural: (words) => words,
};

/** For a build in another language: `TIDEGATE_LANGUAGE=de`, with texts/de.po. Without one, nothing is added to the build. */
export function texts(language = process.env.TIDEGATE_LANGUAGE): Plugin[] {
  if (!language || language === 'en') return [];
  let root = '';
  let translations: Translations = new Map();
  return [
    {
      name: 'texts',
      enforce: 'pre',
      configResolved(config) {
        root = config.root;
        const path = join(root, 'texts', `${language}.po`);
        if (!existsSync(path)) throw new Error(`There is no ${path}: docs/console.md says how to add a language.`);
        translations = read(readFileSync(path, 'utf8'));
      },
      transform(code, id) {
        const path = relative(root, id);
        if (!path.startsWith('src') || !/\.(svelte|ts)$/.test(path)) return undefined;
        return { code: translate(code, path, language, translations), map: null };
      },
      transformIndexHtml: (page) => page.replace(/<html lang="[^"]*"/, `<html lang="${language}"`),
    },
  ];
}

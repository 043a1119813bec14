import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { compile } from 'svelte/compiler';
import { describe, expect, test } from 'vitest';
import { collect, problem, read, TOKEN, write, type Translations } from './catalog.ts';
import { find } from './find.ts';
import { translate } from './translate.ts';

const TEMPLATE = 'texts/console.pot';
const sources = (readdirSync('src', { recursive: true }) as string[])
  .filter((name) => /\.(svelte|ts)$/.test(name) && !/\.(test|d)\.ts$/.test(name))
  .sort()
  .map((name) => ({ path: `src/${name}`, source: readFileSync(`src/${name}`, 'utf8') }));
const entries = collect(sources);

/** Every letter with an accent, as no language has it; values and elements are left alone. */
function accented(words: string): string {
  return words.split(TOKEN).map((piece, at) => (at % 2 === 1 ? piece : piece.replace(/&[a-z]+;|[a-z]/gi, (letter) => (letter.length > 1 ? letter : `${letter}\u0301`)))).join('');
}

const pseudo: Translations = new Map([...entries.values()].map(({ message, isPlural }) => [message, isPlural ? [accented(message), accented(`${message}s`)] : [accented(message)]]));

test('the catalog has every text', () => {
  if (process.env.UPDATE_TEXTS) {
    writeFileSync(TEMPLATE, write(entries.values()));
    for (const name of readdirSync('texts').filter((one) => one.endsWith('.po'))) {
      writeFileSync(`texts/${name}`, write(entries.values(), name.slice(0, -3), read(readFileSync(`texts/${name}`, 'utf8'))));
    }
  }
  expect(readFileSync(TEMPLATE, 'utf8') === write(entries.values()), `${TEMPLATE} is out of date: run \`npm run texts\` in console/`).toBe(true);
});

test('each translation has the values of its text', () => {
  for (const name of readdirSync('texts').filter((one) => one.endsWith('.po'))) {
    for (const [message, forms] of read(readFileSync(`texts/${name}`, 'utf8'))) expect(problem(message, forms), name).toBeUndefined();
  }
});

test('no text is compared with: a translation would change what the program does', { timeout: 60_000 }, () => {
  for (const { path, source } of sources) {
    const literals = new Set(find(source, path).filter(({ kind }) => kind === 'literal').map(({ message }) => message));
    const compared = [...source.matchAll(/(?:[!=]==|case) '([^']+)'/g)].map(([, word]) => word ?? '').filter((word) => literals.has(word) && /[A-Z ]/.test(word));
    expect(compared, path).toEqual([]);
  }
});

describe('another language', () => {
  const source = `<script lang="ts">
  const LABELS = { ok: 'All is well', key: 'not a text' };
  const note = $derived(\`\${count(n)} of \${many(n, 'request')} match\`);
</script>
<Panel title="Edit {one.name}" label={isNew ? 'new' : undefined} class="big panel">
  <p>Kept until <strong>{day}</strong>; then <a href="/purges" title="What was removed">purged</a>{#if late}, late by {late} days{/if}.</p>
</Panel>`;

  test('finds sentences whole, with their values and elements', () => {
    expect(find(source, 'One.svelte').map(({ message }) => message)).toEqual([
      'All is well',
      '{n} of {n2} match',
      'request',
      'Edit {name}',
      'new',
      'Kept until <strong>{day}</strong>; then <a>purged</a>{if}.',
      'What was removed',
      ', late by {late} days',
    ]);
  });

  test('puts a translation in, in its own order', () => {
    const german: Translations = new Map([
      ['Kept until <strong>{day}</strong>; then <a>purged</a>{if}.', ['<a>Gelöscht</a>{if}, behalten bis <strong>{day}</strong>.']],
      ['What was removed', ['Was "weg" war']],
      ['Edit {name}', ['{name} ändern']],
      ['{count} request', ['{count} Anfrage', '{count} Anfragen']],
    ]);
    const made = translate(source, 'One.svelte', 'de', german);
    expect(made).toContain('<p><a href="/purges" title="Was &quot;weg&quot; war">Gelöscht</a>{#if late}, late by {late} days{/if}, behalten bis <strong>{day}</strong>.</p>');
    expect(made).toContain('title="{one.name} ändern"');
    expect(made).toContain('many(n, {"one":"{count} Anfrage","other":"{count} Anfragen"})');
  });

  test('refuses a translation that lost a value', () => {
    expect(() => translate(source, 'One.svelte', 'de', new Map([['Edit {name}', ['Ändern']]]))).toThrow('{name}');
  });

  test('is read back as it was written', () => {
    expect(read(write(entries.values(), 'pseudo', pseudo))).toEqual(pseudo);
  });

  test('every source shows the translation, and no text of before', { timeout: 60_000 }, () => {
    for (const { path, source: original } of sources) {
      const made = translate(original, path, 'en', pseudo);
      const left = find(made, path).filter(({ message }) => entries.has(message) && /[a-z]/i.test(message.replace(TOKEN, '')));
      expect(left.map(({ message }) => message), path).toEqual([]);
      if (path === 'src/pages/Keys.svelte') {
        const { js } = compile(made, { generate: 'server', runes: true });
        expect(js.code).toContain(accented('Create a key'));
        expect(js.code).not.toContain('Create a key');
      }
    }
  });
});

import { expect, test } from 'vitest';
import { dated, factsOf, factsOfModel, grouped, GROUPS, label, pieces, words } from './manifest';
import type { FactValue, ProviderManifest } from './wire';

const known = (value: FactValue) => ({ value, source: 'https://a.example/page', checked: '2026-11-20' });
const manifest: ProviderManifest = {
  provider: 'alpha',
  facts: { vision: known(true), thinking: { source: 'unverified' }, efforts: known(['low']) },
  models: [
    { names: ['one-three'], facts: { efforts: known(['exact']) } },
    { names: ['one*'], facts: { efforts: known(['short']), vision: known(false) } },
    { names: ['one-th*', 'two*'], facts: { efforts: known(['long']), thinking: known('effort') } },
  ],
};
const effort = (name: string) => factsOf(manifest, name).efforts?.value;

test('the more exact row is the stronger, in whatever order they stand', () => {
  expect(effort('one-three')).toEqual(['exact']);
  expect(effort('publisher/one-three')).toEqual(['exact']);
  expect(effort('one-three-x')).toEqual(['long']);
  expect(effort('one-2')).toEqual(['short']);
  expect(effort('three')).toEqual(['low']);
});

test('what a stronger row does not say, a weaker one does', () => {
  const facts = factsOf(manifest, 'one-three');
  expect([facts.vision?.value, facts.thinking?.value]).toEqual([false, 'effort']);
  expect(factsOf(manifest, 'three').thinking).toEqual({ source: 'unverified' });
});

test('the longest context of a provider is told of none of its models', () => {
  const all: ProviderManifest = { ...manifest, facts: { ...manifest.facts, context_window_max_tokens: known(1_050_000) } };
  expect(factsOfModel(all, 'one-three', 128_000).context_window_max_tokens?.value).toBe(128_000);
  expect(factsOfModel(all, 'one-three', null).context_window_max_tokens).toBeUndefined();
  const own: ProviderManifest = { ...all, models: [{ names: ['one*'], facts: { context_window_max_tokens: known(4_096) } }] };
  expect(factsOfModel(own, 'one-three', null).context_window_max_tokens?.value).toBe(4_096);
});

test('facts stand in their groups, and none is lost', () => {
  const facts = { vision: known(true), made_up_fact: known(1), purge: known('expiry') };
  expect(grouped(facts).map((group) => [group.name, group.facts.map((fact) => fact.name)])).toEqual([
    ['Input', ['vision']],
    ['Prompt cache', ['purge']],
    ['More', ['made_up_fact']],
  ]);
  expect([label('vision'), label('made_up_fact')]).toEqual(['Images', 'Made up fact']);
  const all = GROUPS.flatMap((group) => group.facts.map(([name]) => name));
  expect(new Set(all).size).toBe(all.length);
});

test('a value is told in its unit', () => {
  const told: [string, FactValue | undefined, string | undefined][] = [
    ['vision', true, 'yes'],
    ['vision', false, 'no'],
    ['prompt_cache_min_tokens', 1024, '1,024 tokens'],
    ['batch_api_discount_pct', 50, '50%'],
    ['prompt_cache_default_ttl_seconds', 300, '5 minutes'],
    ['prompt_cache_default_ttl_seconds', 3600, '1 hour'],
    ['batch_api_max_latency_seconds', 86400, '1 day'],
    ['prompt_cache_default_ttl_seconds', 90, '90 seconds'],
    ['data_retention_days_max', 30, '30 days'],
    ['prompt_cache_marks_max', 4, '4'],
    ['purge', 'delete_resource', 'delete resource'],
    ['efforts', ['low', 'high'], 'low, high'],
    ['efforts', [], 'none'],
    ['efforts', undefined, undefined],
  ];
  for (const [name, value, expected] of told) expect(words(name, value)).toBe(expected);
});

test('only addresses of web pages are links', () => {
  expect(pieces('https://a.example/x and http://b.example (quotes https://c.example/y)')).toEqual([
    { text: 'https://a.example/x', href: 'https://a.example/x' },
    { text: ' and ' },
    { text: 'http://b.example', href: 'http://b.example' },
    { text: ' (quotes ' },
    { text: 'https://c.example/y', href: 'https://c.example/y' },
    { text: ')' },
  ]);
  for (const harmless of ['operator', 'javascript:alert(1)', 'data:text/html,x', 'https://', '//elsewhere.example']) {
    expect(pieces(harmless).every((piece) => piece.href === undefined)).toBe(true);
  }
});

test('a source is of its own day, whenever it was read', () => {
  expect(dated('2026-11-20')).toBe('2026-11-20');
  expect(dated('2026-11-20', null)).toBe('2026-11-20');
  expect(dated('2026-11-20', '2026-11-20')).toBe('2026-11-20');
  expect(dated('2026-11-20', '2026-07-02')).toBe('of 2026-07-02, read 2026-11-20');
  expect(dated(undefined, '2026-07-02')).toBe('of 2026-07-02');
  expect(dated()).toBe('');
});

import { expect, test } from 'vitest';
import { isFrom, leading, matching, NODES, nextOrder, priceDay, readOrder, rows, sellers, sorted } from './catalogue';
import type { ComputeNode, PricedModel, PricedOffer } from './wire';

const offer = (provider: string, input?: number, output = 0): PricedOffer => ({
  provider,
  upstream_model: `${provider}-name`,
  regions: [],
  price: input === undefined ? null : { input_micros_per_million: input, output_micros_per_million: output, cached_input_micros_per_million: null, cache_write_micros_per_million: null, cache_write_long_micros_per_million: null },
  long_prompt: null,
  tiers: [],
  source: 'a page',
  checked: '2026-11-20',
  as_of: null,
  third_hand: false,
  until: null,
});
const model = (name: string, offers: PricedOffer[], more: Partial<PricedModel> = {}): PricedModel => ({ model: name, modality: 'chat', context_tokens: null, output_tokens_max: null, offers, ...more });
const node = (id: string, models: string[]) => ({ id, models }) as ComputeNode;

const all = rows(
  {
    revision: 'r',
    data: [
      model('a/large', [offer('alpha', 5, 10), offer('beta', 2, 4)], { context_tokens: 1000 }),
      model('a/unread', [offer('alpha')]),
      model('b/vectors', [offer('beta', 1)], { modality: 'embedding', context_tokens: 9 }),
    ],
  },
  [node('node_1', ['tide-1', 'a/large']), node('node_2', ['tide-1'])],
);
const names = (list: { name: string }[]) => list.map((row) => row.name);
const anything = { text: '', seller: '', modality: '' };

test('what nodes serve stands beside what is sold, once', () => {
  expect(all.map((row) => [row.name, sellers(row)])).toEqual([
    ['a/large', ['alpha', 'beta', NODES]],
    ['a/unread', ['alpha']],
    ['b/vectors', ['beta']],
    ['tide-1', [NODES]],
  ]);
  expect(all.at(-1)?.nodes).toEqual(['node_1', 'node_2']);
});

test('the lowest price stands for a model, and no price is none', () => {
  const [large, unread, , tide] = all;
  expect([leading(large!)?.provider, isFrom(large!)]).toEqual(['beta', true]);
  expect([leading(unread!)?.price, isFrom(unread!)]).toEqual([null, false]);
  expect(leading(tide!)).toBeUndefined();
});

test('every word must stand somewhere in the row', () => {
  const found = (wanted: Partial<typeof anything>) => names(matching(all, { ...anything, ...wanted }, (seller) => (seller === NODES ? 'your nodes' : `The ${seller} company`)));
  expect(found({})).toHaveLength(4);
  expect(found({ text: ' LARGE  a/' })).toEqual(['a/large']);
  expect(found({ text: 'company beta' })).toEqual(['a/large', 'b/vectors']);
  expect(found({ text: 'your nodes' })).toEqual(['a/large', 'tide-1']);
  expect(found({ modality: 'embedding' })).toEqual(['b/vectors']);
  expect(found({ seller: NODES })).toEqual(['a/large', 'tide-1']);
  expect(found({ text: 'nothing' })).toEqual([]);
});

test('of one seller only its own price is shown', () => {
  const [large] = matching(all, { ...anything, seller: 'alpha' }, String);
  expect([sellers(large!), leading(large!)?.price?.input_micros_per_million, isFrom(large!)]).toEqual([['alpha'], 5, false]);
});

test('what is not known stands last, whichever way', () => {
  expect(names(sorted(all, readOrder('input')))).toEqual(['b/vectors', 'a/large', 'a/unread', 'tide-1']);
  expect(names(sorted(all, readOrder('-input')))).toEqual(['a/large', 'b/vectors', 'a/unread', 'tide-1']);
  expect(names(sorted(all, readOrder('-context')))).toEqual(['a/large', 'b/vectors', 'a/unread', 'tide-1']);
  expect(names(sorted(all, readOrder('-name')))[0]).toBe('tide-1');
  expect(names(sorted(all, readOrder('nonsense')))).toEqual(names(all));
});

test('a heading asks for up, down, and as it was', () => {
  const asked: (string | undefined)[] = [];
  for (let order = readOrder(null), turns = 0; turns < 3; turns += 1) {
    const next = nextOrder(order, 'output');
    asked.push(next);
    order = readOrder(next ?? null);
  }
  expect(asked).toEqual(['output', '-output', undefined]);
  expect(nextOrder(readOrder('-name'), 'output')).toBe('output');
});

test('a price is as old as its source', () => {
  expect(priceDay(offer('alpha', 1))).toBe('2026-11-20');
  expect(priceDay({ ...offer('alpha', 1), as_of: '2026-07-02' })).toBe('2026-07-02');
  expect(priceDay(undefined)).toBe('');
});

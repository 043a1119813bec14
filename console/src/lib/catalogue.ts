// The models that can be asked for: those that somebody sells, and those that own nodes serve, in one list.

import { locale } from './locale';
import type { ComputeNode, PriceBook, PricedOffer } from './wire';

/** What the seller is called where the model runs on nodes of one's own. */
export const NODES = 'byoc';

export interface ModelRow {
  name: string;
  modality: string | null;
  contextTokens: number | null;
  outputTokensMax: number | null;
  offers: PricedOffer[];
  /** Ids of the nodes that serve it. */
  nodes: string[];
}

export function rows(book: PriceBook, nodes: readonly ComputeNode[]): ModelRow[] {
  const found = new Map<string, ModelRow>();
  for (const one of book.data) {
    found.set(one.model, { name: one.model, modality: one.modality, contextTokens: one.context_tokens, outputTokensMax: one.output_tokens_max, offers: one.offers, nodes: [] });
  }
  for (const node of nodes) {
    for (const name of node.models) {
      const row = found.get(name) ?? { name, modality: null, contextTokens: null, outputTokensMax: null, offers: [], nodes: [] };
      row.nodes.push(node.id);
      found.set(name, row);
    }
  }
  return [...found.values()];
}

export function sellers(row: ModelRow): string[] {
  const named = [...new Set(row.offers.map((offer) => offer.provider))];
  return row.nodes.length > 0 ? [...named, NODES] : named;
}

/** The day that a price is of: its source's own, or the day it was read where the source says none. */
export function priceDay(offer: PricedOffer | undefined): string {
  return offer?.as_of ?? offer?.checked ?? '';
}

/** The offer whose prices stand for the model: the lowest; one without a price only where none has one. */
export function leading(row: ModelRow): PricedOffer | undefined {
  const cost = (offer: PricedOffer) => (offer.price ? offer.price.input_micros_per_million + offer.price.output_micros_per_million : Infinity);
  return row.offers.reduce<PricedOffer | undefined>((best, offer) => (best === undefined || cost(offer) < cost(best) ? offer : best), undefined);
}

/** Whether other sellers ask for other prices. */
export function isFrom(row: ModelRow): boolean {
  const asked = row.offers.map((offer) => JSON.stringify(offer.price));
  return new Set(asked).size > 1;
}

export interface Wanted {
  text: string;
  seller: string;
  modality: string;
  /** Of these alone, where it is set. */
  among?: ReadonlySet<string>;
}

/** The rows in which every word stands, of this seller alone where one is wanted. */
export function matching(all: readonly ModelRow[], wanted: Wanted, label: (seller: string) => string): ModelRow[] {
  const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
  return all.flatMap((row) => {
    if (wanted.modality !== '' && row.modality !== wanted.modality) return [];
    if (wanted.among && !wanted.among.has(row.name)) return [];
    const kept = wanted.seller === '' ? row : of(row, wanted.seller);
    if (sellers(kept).length === 0) return [];
    const text = [row.name, ...row.offers.map((offer) => offer.upstream_model), ...sellers(row).flatMap((seller) => [seller, label(seller)])].join(' ').toLowerCase();
    return words.every((word) => text.includes(word)) ? [kept] : [];
  });
}

function of(row: ModelRow, seller: string): ModelRow {
  return { ...row, offers: row.offers.filter((offer) => offer.provider === seller), nodes: seller === NODES ? row.nodes : [] };
}

export const COLUMNS = ['name', 'sellers', 'context', 'longest', 'input', 'cached', 'output', 'read'] as const;
export type Column = (typeof COLUMNS)[number];

const CELLS: Record<Column, (row: ModelRow) => string | number | null | undefined> = {
  name: (row) => row.name,
  sellers: (row) => sellers(row).join(' '),
  context: (row) => row.contextTokens,
  longest: (row) => row.outputTokensMax,
  input: (row) => leading(row)?.price?.input_micros_per_million,
  cached: (row) => leading(row)?.price?.cached_input_micros_per_million,
  output: (row) => leading(row)?.price?.output_micros_per_million,
  read: (row) => priceDay(leading(row)) || undefined,
};

export interface Order {
  by: Column;
  isDown: boolean;
}

/** As it stands in the address: `input`, or `-input` for the largest first. */
export function readOrder(text: string | null): Order | undefined {
  const by = COLUMNS.find((column) => column === (text ?? '').replace(/^-/, ''));
  return by && { by, isDown: text?.startsWith('-') === true };
}

/** What a column's heading asks for next: upwards, downwards, as it was. */
export function nextOrder(now: Order | undefined, by: Column): string | undefined {
  if (now?.by !== by) return by;
  return now.isDown ? undefined : `-${by}`;
}

/** What isn't known stands last, whichever way. */
export function sorted(list: readonly ModelRow[], order: Order | undefined): ModelRow[] {
  if (!order) return [...list];
  const cell = CELLS[order.by];
  return [...list].sort((a, b) => {
    const [one, other] = [cell(a), cell(b)];
    if (one === null || one === undefined) return other === null || other === undefined ? 0 : 1;
    if (other === null || other === undefined) return -1;
    const found = typeof one === 'number' && typeof other === 'number' ? one - other : String(one).localeCompare(String(other), locale().tag, { numeric: true });
    return order.isDown ? -found : found;
  });
}

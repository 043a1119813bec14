// What `/v2` answers of models, prices and capabilities, as far as the console reads it.

export interface CallableModel {
  id: string;
  owned_by: string;
  modality: string | null;
}

/** Micro-USD for a million tokens. */
export interface Prices {
  input_micros_per_million: number;
  output_micros_per_million: number;
  cached_input_micros_per_million: number | null;
  cache_write_micros_per_million: number | null;
  cache_write_long_micros_per_million: number | null;
}

export interface PricedOffer {
  provider: string;
  upstream_model: string;
  regions: string[];
  /** Nothing where nobody read a price. */
  price: Prices | null;
  long_prompt: { above_tokens: number; price: Prices } | null;
  /** What other tiers than the standard one cost: a share of its price, or prices of their own. */
  tiers: { tier: string; percent: number | null; price: Prices | null; source: string; checked: string; as_of: string | null; third_hand: boolean }[];
  source: string;
  /** The day it was read there. */
  checked: string;
  /** The day that the source itself is of, where it says one. */
  as_of: string | null;
  /** The source repeats what it read at the seller's. */
  third_hand: boolean;
  until: string | null;
}

export interface PricedModel {
  model: string;
  modality: string;
  context_tokens: number | null;
  output_tokens_max: number | null;
  offers: PricedOffer[];
}

export interface PriceBook {
  revision: string;
  data: PricedModel[];
}

export type FactValue = boolean | number | string | string[];

/** One thing that is known, or known to be unverified. */
export interface Fact {
  value?: FactValue;
  source: string;
  checked?: string;
}

export type Facts = Record<string, Fact>;

export interface ProviderManifest {
  provider: string;
  /** What older servers don't tell. */
  manifest_revision?: string;
  /** What the operator states, which is part of the rest. */
  stated?: { facts: Facts; models: Record<string, Facts> };
  facts: Facts;
  /** In what some models differ; a name that ends with `*` stands for all that begin so. */
  models: { names: string[]; facts: Facts }[];
}

export interface CapabilityManifest {
  revision: string;
  data: ProviderManifest[];
}

export interface CapabilityRevision {
  revision: string;
  served_at: string;
  served_by: string;
  current: boolean;
  changes: { field: string; before: unknown; after: unknown }[];
}

// What `/v2/byoc/costs` answers.

import type { HardwareCost } from './nodes';

/** Tokens, and what the hardware that served them cost. */
export interface HardwareSpending {
  requests: number;
  input_tokens: number;
  cached_tokens: number;
  output_tokens: number;
  hardware_cost_micros: number | null;
  micros_per_million_tokens: number | null;
}

export interface HardwareCosts {
  start: string;
  end: string;
  total: HardwareSpending;
  nodes: NodeHardwareCosts[];
  models: ModelHardwareCosts[];
}

export interface NodeHardwareCosts extends HardwareSpending {
  node_id: string;
  name: string;
  cost: HardwareCost | null;
  machine_micros: number | null;
  power_micros: number | null;
  power_by: 'stated' | 'measured' | 'unknown' | 'not_counted' | null;
  hours_up: number;
  utilisation: number | null;
  energy_wh: number | null;
  wh_per_million_tokens: number | null;
  tokens_per_day: number | null;
  tokens_per_busy_day: number | null;
  models: ModelHardwareCosts[];
}

export interface ModelHardwareCosts extends HardwareSpending {
  model: string;
  adapter: string | null;
  /** Every provider with a price for the model, the cheapest first. */
  providers: ProviderHardwareCosts[];
}

export interface ProviderHardwareCosts {
  provider: string;
  model: string;
  would_cost_micros: number;
  micros_per_million_tokens: number | null;
  break_even_tokens_per_day: number | null;
}

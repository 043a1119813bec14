// What a node's machine costs: as its owner types it, as the server takes it, and in words.

import { dollars, typedDollars } from './dollars';
import { count, exactMoney, fixed, percents } from './format';
import type { HardwareCost } from './wire';

/** What is typed; empty fields are not stated. */
export interface CostFields {
  kind: 'none' | 'cloud' | 'owned';
  hour: string;
  price: string;
  months: string;
  idle: string;
  busy: string;
  kwh: string;
}

const NANOS_PER_MICRO = 1_000;

function typed(nanos: number | undefined): string {
  return nanos === undefined ? '' : typedDollars(nanos, 9);
}
const number = (value: number | undefined) => (value === undefined ? '' : String(value));

export function costFields(cost: HardwareCost | null | undefined): CostFields {
  const owned = cost?.kind === 'owned' ? cost : undefined;
  return {
    kind: cost?.kind ?? 'none',
    hour: cost?.kind === 'cloud' ? typed(cost.nano_usd_per_hour) : '',
    price: typed(owned?.price_nano_usd),
    months: number(owned?.months),
    idle: number(owned?.watts_idle),
    busy: number(owned?.watts_busy),
    kwh: typed(owned?.nano_usd_per_kwh),
  };
}

/** Dollars as whole nano-USD; a text that is no amount goes to the server as it is, which says what is wrong with it. */
function nanos(text: string): number | string | null {
  if (text.trim() === '') return null;
  const micros = dollars(text);
  return micros === undefined ? text : micros * NANOS_PER_MICRO;
}
const whole = (text: string): number | null => (text.trim() === '' ? null : Number(text));

/** The merge patch: fields of the other kind are taken away with it. */
export function costPatch(fields: CostFields): Record<string, unknown> | null {
  const none = { nano_usd_per_hour: null, price_nano_usd: null, months: null, watts_idle: null, watts_busy: null, nano_usd_per_kwh: null };
  switch (fields.kind) {
    case 'none':
      return null;
    case 'cloud':
      return { ...none, kind: 'cloud', nano_usd_per_hour: nanos(fields.hour) };
    case 'owned':
      return { ...none, kind: 'owned', price_nano_usd: nanos(fields.price), months: whole(fields.months), watts_idle: whole(fields.idle), watts_busy: whole(fields.busy), nano_usd_per_kwh: nanos(fields.kwh) };
  }
}

export function costWords(cost: HardwareCost | null | undefined): string {
  if (!cost) return 'not set';
  if (cost.kind === 'cloud') return `${exactMoney(cost.nano_usd_per_hour, 9)} per hour while it’s up`;
  const watts = [cost.watts_busy !== undefined && `${count(cost.watts_busy)} W busy`, cost.watts_idle !== undefined && `${count(cost.watts_idle)} W idle`].filter(Boolean).join(', ');
  const power = cost.nano_usd_per_kwh === undefined ? '' : `, ${exactMoney(cost.nano_usd_per_kwh, 9)} per kWh`;
  return `${exactMoney(cost.price_nano_usd, 9)} over ${count(cost.months)} months${watts ? `, ${watts}` : ''}${power}`;
}

/** By which the power was counted. */
export const POWER_BY = {
  stated: 'from the wattage you entered',
  measured: 'measured by the node',
  unknown: 'unknown: enter the wattage, or let the node read its power counters',
  not_counted: 'not counted: no price per kWh is set',
} as const;

export function share(part: number | null): string {
  if (part === null) return '–';
  return percents(part * 100, 1);
}

/** Watt-hours, or kilowatt-hours where there are many. */
export function energy(wattHours: number | null): string {
  if (wattHours === null) return '–';
  return wattHours >= 1_000 ? `${fixed(wattHours / 1_000, 2)} kWh` : `${fixed(wattHours, 1)} Wh`;
}

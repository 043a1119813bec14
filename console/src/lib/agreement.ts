// What the owner of a credential or an account states of its contract with the provider: as it is typed, as it is read, and as it is sent.

import { dollars, typedDollars } from './dollars';
import { count, exactMoney } from './format';
import { words } from './forms';
import type { Agreement, OwnRates } from './wire';

export const LIMITS = [
  ['requests_per_minute', 'Requests per minute'],
  ['tokens_per_minute', 'Tokens per minute'],
  ['requests_per_day', 'Requests per day'],
  ['concurrent_requests', 'Concurrent requests'],
  ['reserved_units', 'Reserved units'],
  ['tokens_per_minute_per_unit', 'Tokens per minute per unit'],
] as const;

export const PERIODS = ['month', 'quarter', 'year'] as const;

/** Everything as text, as a form holds it. */
export interface Typed {
  limits: Record<string, string>;
  /** Empty where it is not known, `zero`, or `days`. */
  retention: string;
  days: string;
  amount: string;
  period: string;
  compliance: string;
  prices: string;
}

/** Dollars without their sign, as they are typed. */
const bare = (micros: number) => typedDollars(micros, 6, 0);

function line(model: string, rates: OwnRates): string {
  const prices = [rates.input, rates.output, ...(rates.cached_input === undefined ? [] : [rates.cached_input])];
  return `${model} = ${prices.map(bare).join(' / ')}`;
}

export function typed(of: Agreement): Typed {
  const days = typeof of.retention === 'object' ? of.retention?.days : undefined;
  return {
    limits: Object.fromEntries(LIMITS.map(([name]) => [name, of.limits[name] === undefined ? '' : String(of.limits[name])])),
    retention: of.retention === null ? '' : of.retention === 'zero' ? 'zero' : 'days',
    days: days === undefined ? '' : String(days),
    amount: of.commitment ? bare(of.commitment.amount_micros) : '',
    period: of.commitment?.period ?? 'month',
    compliance: of.compliance.join(', '),
    prices: Object.entries(of.pricing)
      .map(([model, rates]) => line(model, rates))
      .join('\n'),
  };
}

/** A number, or the text itself: then the server says what is wrong with it, and where. */
function number(text: string): number | string | null {
  const given = text.trim().replace(/(?<=\d)[.,\s’'](?=\d{3}(?!\d))/g, '');
  return given === '' ? null : /^\d{1,15}$/.test(given) ? Number(given) : text.trim();
}

const amount = (text: string) => dollars(text) ?? text.trim();

function price(text: string): [string, unknown] {
  const at = text.lastIndexOf('=');
  if (at < 0) return [text, {}];
  const [input = '', output = '', cached, ...more] = text.slice(at + 1).split('/');
  if (more.length > 0) return [text, {}];
  return [text.slice(0, at).trim(), { input: amount(input), output: amount(output), cached_input: cached === undefined ? null : amount(cached) }];
}

/** The merge patch that makes what was stated what is typed. */
export function patchOf(before: Agreement, after: Typed): Record<string, unknown> {
  const lines = after.prices
    .split('\n')
    .map((one) => one.trim())
    .filter(Boolean);
  return {
    limits: Object.fromEntries(LIMITS.map(([name]) => [name, number(after.limits[name] ?? '')])),
    retention: after.retention === '' ? null : after.retention === 'zero' ? 'zero' : { days: number(after.days) },
    commitment: after.amount.trim() === '' ? null : { amount_micros: amount(after.amount), period: after.period },
    compliance: words(after.compliance),
    // What is not typed any more is taken away.
    pricing: { ...Object.fromEntries(Object.keys(before.pricing).map((model) => [model, null])), ...Object.fromEntries(lines.map(price)) },
  };
}

/** What is stated, in words; prices have a table of their own. */
export function facts(of: Agreement): { name: string; value: string }[] {
  const said: [string, string | undefined][] = [
    ...LIMITS.map(([name, label]): [string, string | undefined] => [label, of.limits[name] === undefined ? undefined : count(of.limits[name])]),
    ['Retention', of.retention === null ? undefined : of.retention === 'zero' ? 'no retention' : `${count(of.retention.days)} days`],
    ['Committed', of.commitment ? `${exactMoney(of.commitment.amount_micros)} a ${of.commitment.period}` : undefined],
    ['Compliance', of.compliance.join(', ') || undefined],
  ];
  return said.flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }]));
}

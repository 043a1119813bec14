// Numbers, dates and money as the reader writes them. Money and tokens are integers from the wire to the screen: only digits are moved.

import { locale, plural } from './locale';
import { t } from './text';

export function count(value: number): string {
  return locale().whole.format(value);
}

/** A number with up to four decimals. */
export function decimals(value: number): string {
  return locale().decimals.format(value);
}

/** A number with so many decimals. */
export function fixed(value: number, digits: number): string {
  return value.toFixed(digits).replace('.', locale().decimal);
}

/** The forms of a noun with its count in another language, which a build for it puts where English has the noun. */
export type Forms = Partial<Record<Intl.LDMLPluralRule, string>>;

/** How many of what: `1 request`, `2 requests`. */
export function many(value: number, one: string | Forms): string {
  if (typeof one === 'string') return `${count(value)} ${one}${value === 1 ? '' : 's'}`;
  return (one[plural.select(value)] ?? one.other ?? '').replace('{count}', count(value));
}

/** A count in at most five characters, for tiles and axes; the exact one goes into a title beside it. */
export function short(value: number): string {
  const units: [number, string][] = [
    [1e12, 'T'],
    [1e9, 'B'],
    [1e6, 'M'],
    [1e4, 'k'],
  ];
  for (const [size, unit] of units) {
    if (value >= size) {
      const divisor = unit === 'k' ? 1e3 : size;
      const scaled = Math.floor((value / divisor) * 100) / 100;
      const digits = scaled >= 100 ? 0 : scaled >= 10 ? 1 : 2;
      return `${fixed(Math.floor(scaled * 10 ** digits) / 10 ** digits, digits)}${unit}`;
    }
  }
  return count(value);
}

/** Bytes in the largest unit that leaves a whole number before the point. */
export function bytes(value: number): string {
  const units: [number, string][] = [
    [1e12, 'TB'],
    [1e9, 'GB'],
    [1e6, 'MB'],
    [1e3, 'kB'],
  ];
  for (const [size, unit] of units) if (value >= size) return `${fixed(Math.floor((value / size) * 10) / 10, 1)} ${unit}`;
  return `${count(value)} B`;
}

/** Dollars out of an integer of `scale` decimals (6: micros, 9: nanos), with all digits that are not zero. */
export function exactMoney(amount: number, scale: 6 | 9 = 6, decimalsMin = 2): string {
  const negative = amount < 0;
  const digits = String(Math.abs(Math.trunc(amount))).padStart(scale + 1, '0');
  const whole = digits.slice(0, -scale);
  let fraction = digits.slice(-scale);
  while (fraction.length > decimalsMin && fraction.endsWith('0')) fraction = fraction.slice(0, -1);
  const { whole: grouped, decimal, dollars } = locale();
  return `${negative ? '−' : ''}${dollars[0]}${grouped.format(BigInt(whole))}${fraction === '' ? '' : `${decimal}${fraction}`}${dollars[1]}`;
}

/** Dollars for a tile or an axis: cents from one dollar up, four telling digits below it. */
export function money(micros: number): string {
  const size = Math.abs(micros);
  const step = size >= 1_000_000 ? 10_000 : size >= 100_000 ? 100 : size >= 10_000 ? 10 : 1;
  // Half up, in integers.
  const rounded = Math.floor((size + Math.floor(step / 2)) / step) * step;
  return exactMoney(micros < 0 ? -rounded : rounded);
}

/** Dollars with six decimals always, so that a column lines up. */
export function columnMoney(micros: number): string {
  return exactMoney(micros, 6, 6);
}

/** How long a film is, out of milliseconds. */
export function seconds(ms: number): string {
  return `${decimals(ms / 1_000)} s`;
}

/** A price of a million tokens. */
export function price(microsPerMillion: number): string {
  return `${exactMoney(microsPerMillion)} / 1M`;
}

/** A length of time out of microseconds. */
export function duration(us: number | null | undefined): string {
  if (us === null || us === undefined) return '–';
  if (us < 1_000) return `${Math.round(us)} µs`;
  if (us < 1_000_000) return `${trimmed(us / 1_000)} ms`;
  if (us < 60_000_000) return `${trimmed(us / 1_000_000)} s`;
  const seconds = Math.round(us / 1_000_000);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  return hours > 0 ? `${hours} h ${pad(minutes)} m` : `${minutes} m ${pad(seconds % 60)} s`;
}

function trimmed(value: number): string {
  return fixed(value, value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

function pad(value: number): string {
  return String(value).padStart(2, '0');
}

/** Part of a whole in percent. 100 % is said only of everything, 0 % only of nothing. */
export function percent(part: number, whole: number): string {
  if (whole === 0) return '–';
  if (part === whole) return percentage('100');
  if (part === 0) return percentage('0');
  const tenths = Math.min(999, Math.max(1, Math.round((part / whole) * 1000)));
  return percentage(`${Math.floor(tenths / 10)}${locale().decimal}${tenths % 10}`);
}

/** A number of percent, with so many decimals, or up to four. */
export function percents(value: number, digits?: number): string {
  return percentage(digits === undefined ? decimals(value) : fixed(value, digits));
}

/** Digits with the percent sign where the reader puts it. */
function percentage(digits: string): string {
  const [before, after] = locale().percent;
  return `${before}${digits}${after}`;
}

/** The change from one period to the next, or nothing where there is nothing to compare with. */
export function change(now: number, before: number): string | undefined {
  if (before === 0) return undefined;
  const ratio = now / before;
  if (ratio >= 10) return `×${ratio >= 1000 ? short(Math.floor(ratio)) : Math.round(ratio)}`;
  const change = Math.round((ratio - 1) * 100);
  return `${change === 0 ? '±' : change > 0 ? '+' : '−'}${percentage(String(Math.abs(change)))}`;
}

export interface ClockStyle {
  utc: boolean;
}

function parts(at: Date, { utc }: ClockStyle) {
  return utc
    ? { y: at.getUTCFullYear(), h: at.getUTCHours(), mi: at.getUTCMinutes(), s: at.getUTCSeconds(), ms: at.getUTCMilliseconds() }
    : { y: at.getFullYear(), h: at.getHours(), mi: at.getMinutes(), s: at.getSeconds(), ms: at.getMilliseconds() };
}

export function dayOf(at: Date, { utc }: ClockStyle): string {
  return (utc ? locale().dayUtc : locale().dayLocal).format(at);
}

/** A month in UTC, as invoices are cut. */
export function monthOf(at: Date): string {
  return locale().monthUtc.format(at);
}

/** The day, with its year only where it is another one. */
export function dateOf(at: Date, style: ClockStyle): string {
  const [day, { y }] = [dayOf(at, style), parts(at, style)];
  return y === parts(new Date(), style).y ? day : `${day}${/^\d/.test(day) ? '' : ','} ${y}`;
}

/** The time of day, of 24 hours everywhere: it lines up, sorts and reads the same beside a log. */
export function clock(at: Date, style: ClockStyle, precision: 'minute' | 'second' | 'ms' = 'second'): string {
  const { h, mi, s, ms } = parts(at, style);
  const minute = `${pad(h)}:${pad(mi)}`;
  if (precision === 'minute') return minute;
  const second = `${minute}:${pad(s)}`;
  return precision === 'second' ? second : `${second}.${String(ms).padStart(3, '0')}`;
}

/** Day and time. */
export function moment(at: Date, style: ClockStyle, precision: 'minute' | 'second' | 'ms' = 'second'): string {
  return `${dateOf(at, style)} ${clock(at, style, precision)}`;
}

/** How long ago, coarsely. */
export function ago(at: Date, now: number = Date.now()): string {
  const seconds = Math.max(0, Math.round((now - at.getTime()) / 1000));
  if (seconds < 5) return 'just now';
  const steps: [number, string][] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  for (const [size, unit] of steps) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return 'just now';
}

/** How long it is until then, coarsely. */
export function ahead(at: Date, now: number = Date.now()): string {
  const seconds = Math.round((at.getTime() - now) / 1000);
  if (seconds <= 0) return t('now');
  const steps: [number, string][] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
  ];
  for (const [size, unit] of steps) {
    if (seconds >= size) return `in ${Math.floor(seconds / size)} ${unit}`;
  }
  return 'within a minute';
}

/** The telling end of an id: prefix and last six characters. */
export function shortId(id: string): string {
  const at = id.indexOf('_');
  return at < 0 || id.length - at < 10 ? id : `${id.slice(0, at + 1)}…${id.slice(-6)}`;
}

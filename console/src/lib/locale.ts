// The one place that knows how the reader writes numbers, dates and money. Texts are in the language of the build; their month names, too.

/** How a reader writes: taken apart once, because amounts are put together of digits, never of floating-point numbers. */
export interface Locale {
  tag: string;
  decimal: string;
  group: string;
  /** What stands before and after an amount of dollars. */
  dollars: readonly [before: string, after: string];
  percent: readonly [before: string, after: string];
  whole: Intl.NumberFormat;
  decimals: Intl.NumberFormat;
  dayLocal: Intl.DateTimeFormat;
  dayUtc: Intl.DateTimeFormat;
  monthUtc: Intl.DateTimeFormat;
}

const LATIN = { numberingSystem: 'latn' } as const;
const page = typeof document === 'undefined' ? undefined : document;

/** The language of the texts, which the build writes into the page. */
export const textLanguage = page?.documentElement.lang || 'en';

/** Plural forms follow the texts. */
export const plural = new Intl.PluralRules(textLanguage);

export function localeOf(wanted: readonly string[]): Locale {
  const tag = wanted.find(isKnown) ?? 'en-US';
  const region = new Intl.Locale(tag).maximize().region ?? 'US';
  // The texts' month names in the order of the reader's region: “Nov 20” in the United States, “20 Nov” in Germany.
  const dates = `${textLanguage.split('-')[0]}-${region}`;
  const day = { day: 'numeric', month: 'short', calendar: 'gregory', ...LATIN } as const;
  const whole = new Intl.NumberFormat(tag, LATIN);
  const part = (type: string) => new Intl.NumberFormat(tag, LATIN).formatToParts(1_234_567.5).find((one) => one.type === type)?.value ?? '';
  return {
    tag,
    decimal: part('decimal') || '.',
    group: part('group'),
    dollars: around(new Intl.NumberFormat(tag, { style: 'currency', currency: 'USD', ...LATIN })),
    percent: around(new Intl.NumberFormat(tag, { style: 'percent', ...LATIN })),
    whole,
    decimals: new Intl.NumberFormat(tag, { maximumFractionDigits: 4, ...LATIN }),
    dayLocal: new Intl.DateTimeFormat(dates, day),
    dayUtc: new Intl.DateTimeFormat(dates, { ...day, timeZone: 'UTC' }),
    monthUtc: new Intl.DateTimeFormat(dates, { year: 'numeric', month: 'long', timeZone: 'UTC', calendar: 'gregory', ...LATIN }),
  };
}

/** A browser may name languages that it knows nothing of. */
function isKnown(tag: string): boolean {
  try {
    return Intl.NumberFormat.supportedLocalesOf(tag).length > 0;
  } catch {
    return false;
  }
}

/** What a format puts before the first digit and after the last. */
function around(format: Intl.NumberFormat): readonly [string, string] {
  const parts = format.formatToParts(1);
  const areDigits = parts.map(({ type }) => ['integer', 'decimal', 'fraction'].includes(type));
  const text = (some: Intl.NumberFormatPart[]) => some.map(({ value }) => value).join('');
  return [text(parts.slice(0, areDigits.indexOf(true))), text(parts.slice(areDigits.lastIndexOf(true) + 1))];
}

let current = localeOf(page ? navigator.languages : []);

export function locale(): Locale {
  return current;
}

/** Reads as somebody else does, for tests. */
export function readAs(...wanted: string[]): void {
  current = localeOf(wanted);
}

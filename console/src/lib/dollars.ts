// Typed dollars as integer micros: digits are moved, nothing is multiplied.

import { locale } from './locale';
import { t } from './text';

/** What is said beside a field with anything else. */
export const NOT_DOLLARS = t('Enter a dollar amount with up to six decimals.');

const GROUP = /(?<=\d)[.,](?=\d{2,3}(?!\d))/g;

/** Takes what the reader's locale writes, and a decimal point or comma wherever it can't be taken for a separator of thousands. */
export function dollars(text: string): number | undefined {
  const given = text.trim().replace(/^(US)?\$\s*|\s*\$(US)?$/g, '').replace(/(?<=\d)[\s’'](?=\d{3})/g, '');
  const decimal = decimalOf(given);
  const [head = '', ...tail] = decimal === undefined ? [given] : given.split(decimal);
  if (tail.length > 1 || tail[0] === '') return undefined;
  const found = /^(\d{1,9})\.(\d{0,6})$/.exec(`${head.replace(GROUP, '')}.${tail.join('')}`);
  if (!found) return undefined;
  const [, whole = '', fraction = ''] = found;
  return Number(whole + fraction.padEnd(6, '0'));
}

/** An amount as it is typed: without groups, so that it's read back as it was. */
export function typedDollars(amount: number, scale: 6 | 9 = 6, decimalsMin = 2): string {
  const digits = String(amount).padStart(scale + 1, '0');
  let fraction = digits.slice(-scale);
  while (fraction.length > decimalsMin && fraction.endsWith('0')) fraction = fraction.slice(0, -1);
  return `${digits.slice(0, -scale)}${fraction === '' ? '' : locale().decimal + fraction}`;
}

/** The separator that decimals follow: the last of two kinds; of one, the reader's own, or one that isn't before three digits. */
function decimalOf(given: string): string | undefined {
  const separators = given.replace(/[^.,]/g, '');
  const last = separators.at(-1);
  if (last === undefined) return undefined;
  if (separators.length > 1) return separators.startsWith(last) ? undefined : last;
  const isGroup = last !== locale().decimal && /^[1-9]\d{0,2}[.,]\d{3}$/.test(given);
  return isGroup ? undefined : last;
}

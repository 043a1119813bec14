// Lists put in order by one of their columns; which one is in the address: `name`, or `-name` for the last first.

import { locale } from './locale';

export type Sortable = string | number | null | undefined;

export interface Order {
  name: string;
  isDown: boolean;
}

export function readOrder(text: string | null): Order | undefined {
  if (text === null || text === '' || text === '-') return undefined;
  return text.startsWith('-') ? { name: text.slice(1), isDown: true } : { name: text, isDown: false };
}

/** What the next press of a heading does: numbers begin with the largest, and the third press is the list's own order. */
export function nextOrder(name: string, isNumber: boolean, order: Order | undefined): string | undefined {
  const steps = isNumber ? [`-${name}`, name] : [name, `-${name}`];
  const now = order?.name === name ? `${order.isDown ? '-' : ''}${name}` : undefined;
  return now === undefined ? steps[0] : steps[steps.indexOf(now) + 1];
}

const words = new Intl.Collator(locale().tag, { numeric: true, sensitivity: 'base' });

/** Rows by a value of each; those without one come last either way. */
export function sorted<Row>(rows: readonly Row[], of: (row: Row) => Sortable, isDown: boolean): Row[] {
  const isEmpty = (value: Sortable) => value === undefined || value === null || value === '';
  const compare = (a: Sortable, b: Sortable) => (typeof a === 'number' && typeof b === 'number' ? a - b : words.compare(String(a), String(b)));
  return [...rows].sort((a, b) => {
    const [one, other] = [of(a), of(b)];
    if (isEmpty(one) || isEmpty(other)) return Number(isEmpty(one)) - Number(isEmpty(other));
    return isDown ? compare(other, one) : compare(one, other);
  });
}

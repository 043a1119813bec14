import { afterEach, expect, test } from 'vitest';
import { dollars, typedDollars } from './dollars';
import { readAs } from './locale';

afterEach(() => readAs('en-US'));

function check(cases: [string, number | undefined][]): void {
  for (const [text, expected] of cases) expect(dollars(text), text).toBe(expected);
}

test('dollars become micros without arithmetic', () => {
  check([
    ['50', 50_000_000],
    ['$1,234.5', 1_234_500_000],
    ['1,234', 1_234_000_000],
    ['1,234,567', 1_234_567_000_000],
    ['12,34,567.5', 1_234_567_500_000],
    ['0.000001', 1],
    ['0.1', 100_000],
    ['1,5', 1_500_000],
    ['1.0000001', undefined],
    ['1.', undefined],
    ['1,2345,6', undefined],
    ['-1', undefined],
    ['', undefined],
    ['1e3', undefined],
  ]);
});

test('a comma is the decimal separator where the reader writes it so', () => {
  readAs('de-DE');
  check([
    ['1.234,5 $', 1_234_500_000],
    ['1.234', 1_234_000_000],
    ['1,234', 1_234_000],
    ['2.50', 2_500_000],
    ['0.125', 125_000],
    ['1 234,5', 1_234_500_000],
  ]);
});

test('an amount is read back as it was typed', () => {
  for (const tag of ['en-US', 'de-DE', 'fr-FR', 'en-IN']) {
    readAs(tag);
    for (const micros of [0, 1, 125_000, 1_125_000, 1_500_000, 50_000_000, 1_234_567_891]) expect(dollars(typedDollars(micros)), `${tag} ${typedDollars(micros)}`).toBe(micros);
  }
});

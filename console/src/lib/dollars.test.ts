import { expect, test } from 'vitest';
import { dollars } from './dollars';

test('dollars become micros without arithmetic', () => {
  const cases: [string, number | undefined][] = [
    ['50', 50_000_000],
    ['$1,234.5', 1_234_500_000],
    ['0.000001', 1],
    ['0.1', 100_000],
    ['1.0000001', undefined],
    ['-1', undefined],
    ['', undefined],
    ['1e3', undefined],
  ];
  for (const [text, expected] of cases) expect(dollars(text), text).toBe(expected);
});

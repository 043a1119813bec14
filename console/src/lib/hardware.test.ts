import { expect, test } from 'vitest';
import { costFields, costPatch, costWords, energy, share } from './hardware';

test('what is stated is typed, sent and told the same', () => {
  const rented = { kind: 'cloud', nano_usd_per_hour: 1_200_000_000 } as const;
  expect(costFields(rented)).toMatchObject({ kind: 'cloud', hour: '1.20', price: '' });
  expect(costPatch(costFields(rented))).toEqual({ ...rented, price_nano_usd: null, months: null, watts_idle: null, watts_busy: null, nano_usd_per_kwh: null });
  expect(costWords(rented)).toBe('$1.20 per hour while it’s up');
  const owned = { kind: 'owned', price_nano_usd: 2_400_000_000_000, months: 36, watts_busy: 350, nano_usd_per_kwh: 300_000_000 } as const;
  expect(costPatch(costFields(owned))).toEqual({ ...owned, watts_idle: null, nano_usd_per_hour: null });
  expect(costWords(owned)).toBe('$2,400.00 over 36 months, 350 W busy, $0.30 per kWh');
});

test('no cost is none, and what is no amount is left for the server to refuse', () => {
  expect([costPatch(costFields(null)), costWords(null)]).toEqual([null, 'not set']);
  expect(costPatch({ ...costFields(null), kind: 'cloud', hour: 'much' })).toMatchObject({ nano_usd_per_hour: 'much' });
});

test('what is not known is no zero', () => {
  expect([share(null), share(0), share(0.304)]).toEqual(['–', '0.0%', '30.4%']);
  expect([energy(null), energy(12.34), energy(12_340)]).toEqual(['–', '12.3 Wh', '12.34 kWh']);
});

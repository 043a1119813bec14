import { describe, expect, test } from 'vitest';
import { ago, ahead, change, clock, columnMoney, count, dayOf, duration, exactMoney, money, percent, seconds, short, shortId } from './format';

test('a film is as long as its milliseconds', () => {
  expect([seconds(8_000), seconds(5_063), seconds(1_200_000)]).toEqual(['8 s', '5.063 s', '1,200 s']);
});

test('money keeps every digit of its integer', () => {
  const cases: [number, 6 | 9, string][] = [
    [0, 6, '$0.00'],
    [72, 6, '$0.000072'],
    [1_500_000, 6, '$1.50'],
    [1_234_567_891, 6, '$1,234.567891'],
    [47_250, 9, '$0.00004725'],
    [-5_000_000, 6, '−$5.00'],
    [9_007_199_254_740_991, 9, '$9,007,199.254740991'],
  ];
  for (const [amount, scale, expected] of cases) expect(exactMoney(amount, scale)).toBe(expected);
  expect(columnMoney(195)).toBe('$0.000195');
});

test('money on a tile is rounded half up, and never to nothing', () => {
  const cases: [number, string][] = [
    [1, '$0.000001'],
    [12_345, '$0.01235'],
    [123_456, '$0.1235'],
    [1_005_000, '$1.01'],
    [1_004_999, '$1.00'],
    [98_765_432_100, '$98,765.43'],
  ];
  for (const [micros, expected] of cases) expect(money(micros)).toBe(expected);
});

test('counts are whole until they are large, and never rounded up to the next unit', () => {
  const cases: [number, string][] = [
    [0, '0'],
    [9_999, '9,999'],
    [12_345, '12.3k'],
    [461_234, '461k'],
    [999_999, '999k'],
    [1_240_000, '1.24M'],
    [2_000_000_000, '2.00B'],
  ];
  for (const [value, expected] of cases) expect(short(value)).toBe(expected);
  expect(count(1_234_567)).toBe('1,234,567');
});

test('durations take the unit that people think in', () => {
  const cases: [number | null, string][] = [
    [null, '–'],
    [831, '831 µs'],
    [1_234, '1.23 ms'],
    [27_089, '27.1 ms'],
    [1_350_000, '1.35 s'],
    [123_000_000, '2 m 03 s'],
    [7_260_000_000, '2 h 01 m'],
  ];
  for (const [us, expected] of cases) expect(duration(us)).toBe(expected);
});

describe('parts and changes', () => {
  test('all is said only of all, nothing only of nothing', () => {
    expect([percent(9_999, 10_000), percent(1, 10_000), percent(5, 5), percent(0, 5), percent(0, 0)]).toEqual(['99.9%', '0.1%', '100%', '0%', '–']);
  });
  test('a change from nothing is none', () => {
    expect([change(5, 0), change(110, 100), change(90, 100), change(100, 100), change(1_200, 100)]).toEqual([undefined, '+10%', '−10%', '±0%', '×12']);
  });
});

test('times are told in the zone that is chosen', () => {
  const at = new Date('2026-11-20T23:05:09.007Z');
  expect(clock(at, { utc: true }, 'ms')).toBe('23:05:09.007');
  expect(dayOf(at, { utc: true })).toBe('20 Nov');
  expect(ago(at, at.getTime() + 7_300_000)).toBe('2 h ago');
  const cases: [number, string][] = [
    [-5_000, 'now'],
    [59_000, 'within a minute'],
    [61_000, 'in 1 min'],
    [7_300_000, 'in 2 h'],
    [604_799_000, 'in 6 d'],
  ];
  for (const [later, expected] of cases) expect(ahead(at, at.getTime() - later)).toBe(expected);
});

test('an id is shortened to what tells it apart', () => {
  expect(shortId('trc_01a1f84b860678ad8c1f590fca9d3b11')).toBe('trc_…9d3b11');
  expect(shortId('short')).toBe('short');
});

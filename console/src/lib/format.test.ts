import { afterEach, describe, expect, test } from 'vitest';
import { ago, ahead, bytes, change, clock, columnMoney, count, dateOf, dayOf, duration, exactMoney, many, money, monthOf, percent, seconds, short, shortId } from './format';
import { readAs } from './locale';

afterEach(() => readAs('en-US'));

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
  expect(dayOf(at, { utc: true })).toBe('Nov 20');
  expect(dateOf(new Date('2019-11-20T12:00:00Z'), { utc: true })).toBe('Nov 20, 2019');
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

test('numbers, money and dates follow the reader', () => {
  const at = new Date('2026-11-20T12:00:00Z');
  const plain = (text: string) => text.replace(/[\u00a0\u202f]/g, ' ');
  const all = () => [count(1_234_567), exactMoney(1_234_567_891), exactMoney(-5_000_000), money(72), percent(999, 1_000), short(12_345), bytes(1_500), duration(1_234), dayOf(at, { utc: true })].map(plain);
  const cases: [string, string[]][] = [
    ['en-US', ['1,234,567', '$1,234.567891', '−$5.00', '$0.000072', '99.9%', '12.3k', '1.5 kB', '1.23 ms', 'Nov 20']],
    ['de-DE', ['1.234.567', '1.234,567891 $', '−5,00 $', '0,000072 $', '99,9 %', '12,3k', '1,5 kB', '1,23 ms', '20 Nov']],
    ['fr-FR', ['1 234 567', '1 234,567891 $US', '−5,00 $US', '0,000072 $US', '99,9 %', '12,3k', '1,5 kB', '1,23 ms', '20 Nov']],
    ['en-IN', ['12,34,567', '$1,234.567891', '−$5.00', '$0.000072', '99.9%', '12.3k', '1.5 kB', '1.23 ms', '20 Nov']],
  ];
  for (const [tag, expected] of cases) {
    readAs(tag);
    expect(all(), tag).toEqual(expected);
  }
});

test('money keeps every digit in any locale', () => {
  readAs('de-DE');
  expect(exactMoney(9_007_199_254_740_991, 9)).toBe('9.007.199,254740991\u00a0$');
});

test('digits are Latin, months speak the language of the texts, and an unknown language is as none', () => {
  readAs('fa-IR');
  expect(count(1_234)).toMatch(/^1\D234$/);
  readAs('de-DE');
  expect(monthOf(new Date('2026-12-01T00:00:00Z'))).toBe('December 2026');
  readAs('xx_not a tag', 'de-AT');
  expect(exactMoney(1_500_000)).toContain('1,50');
});

test('a count has the forms of its language', () => {
  expect([many(1, 'request'), many(2, 'request')]).toEqual(['1 request', '2 requests']);
  const forms = { one: '{count} Anfrage', other: '{count} Anfragen' };
  expect([many(1, forms), many(1_200, forms)]).toEqual(['1 Anfrage', '1,200 Anfragen']);
});

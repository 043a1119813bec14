import { expect, test } from 'vitest';
import { caps, secret, windows } from './subscription';
import type { Subscription } from './wire';

test('JSON is an access token with what renews it', () => {
  expect(secret(' sk-1 ')).toEqual({ token: 'sk-1' });
  expect(secret('{"access_token": "a"}')).toEqual({ oauth: { access_token: 'a' } });
  expect(secret('12')).toEqual({ token: '12' });
  expect(secret('{broken')).toEqual({ token: '{broken' });
});

test('a window is its hours and its caps', () => {
  expect(windows('5h:requests=100,tokens=5000\n\n 168h:tokens=2000000 ')).toEqual([{ hours: 5, requests: 100, tokens: 5000 }, { hours: 168, tokens: 2_000_000 }]);
  expect(windows('')).toEqual([]);
  for (const wrong of ['5:requests=1', '5h', '5h:', 'h:requests=1', '5h:cost=1', '5h:requests=many']) expect(windows(wrong)).toEqual({ wrong });
});

test('each cap is told with what is used of it', () => {
  const one = { windows: [{ hours: 5, requests: 100, tokens: 1 }], window_use: [{ requests: 3, tokens: 0, resets_at: '' }] } as unknown as Subscription;
  expect(caps(one)).toEqual(['3 of 100 requests in 5 h', '0 of 1 token in 5 h']);
});

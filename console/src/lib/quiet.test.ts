import { expect, test } from 'vitest';
import { quietHours, quietWindow } from './quiet';
import { WEEKDAYS } from './rule';

test('no hour and no day are no quiet hours', () => {
  expect(quietWindow(quietHours(null, 0))).toBeNull();
  expect(quietWindow({ from: ' ', to: '', offset: '+02:00', weekdays: [] })).toBeNull();
});

test('what is left out is every day, midnight or UTC', () => {
  expect(quietWindow({ from: '22:00', to: '07:00', offset: '', weekdays: [] })).toEqual({ weekdays: WEEKDAYS, from: '22:00', to: '07:00', utc_offset: '+00:00' });
  expect(quietWindow({ from: '', to: '', offset: '+02:00', weekdays: ['sun', 'sat'] })).toEqual({ weekdays: ['sat', 'sun'], from: '00:00', to: '00:00', utc_offset: '+02:00' });
});

test('what is set is read back as it is', () => {
  const window = { weekdays: ['mon'], from: '22:00', to: '07:00', utc_offset: '-05:00' };
  expect(quietWindow(quietHours(window, 0))).toEqual(window);
  expect(quietHours(undefined, -120).offset).toBe('+02:00');
});

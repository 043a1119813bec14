import { expect, test } from 'vitest';
import { statusWords } from './status';

test('a status is shown in words', () => {
  expect(['in_progress', 'authorization_needed', 'in_force', 'cancel', 'completed'].map(statusWords)).toEqual(['in progress', 'needs authorization', 'in force', 'cancelling', 'completed']);
});

test('one that is not known is shown by its own words', () => {
  expect(statusWords('waiting_for_high_tide')).toBe('waiting for high tide');
  expect(statusWords('toString')).toBe('toString');
});

import { expect, test } from 'vitest';
import { isField } from './filter';
import { fieldOf, groupName, GROUPS, groupTitle } from './usage';

test('no group is shown by the name that the API has for it', () => {
  for (const group of GROUPS) expect([groupName(group), groupTitle(group)].join(' '), group).not.toContain('_');
});

test('requests are filtered by the field of their group', () => {
  expect(fieldOf('error_code')).toBe('error');
  const fields = GROUPS.filter((group) => group !== 'account').map(fieldOf);
  expect(fields.filter((field) => field === undefined || !isField(field))).toEqual([]);
});

test('the name of a group begins with a capital letter where it stands alone', () => {
  expect(groupName('end_user')).toBe('end user');
  expect(groupTitle('end_user')).toBe('End user');
});

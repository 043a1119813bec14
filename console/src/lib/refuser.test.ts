import { expect, test } from 'vitest';
import { similar, ways } from './refuser';

const failed = (change: object) => ({ error: null, error_code: 'internal_error', error_class: 'internal', requested_model: 'a b', project_id: 'prj_1', key_id: 'key_1', alias: null, attempts: [], ...change });
const by = (object: string) => ({ error: { message: '', fix: null, param: null, refused_by: { object, id: 'x_1' } } });
const names = (change: object) => ways(failed(change)).map((way) => way.href);

test('what refused it comes first', () => {
  expect(names(by('budget'))).toEqual(['/budgets?id=x_1']);
  expect(names(by('credit'))).toEqual(['/billing']);
  expect(names(by('route'))).toEqual(['/routes/x_1']);
  expect(names(by('policy'))).toEqual(['/policies', '/projects/prj_1']);
  expect(names(by('something new'))).toEqual([]);
});

test('a code leads to the key, the alias or the model', () => {
  expect(names({ error_code: 'ip_not_allowed' })).toEqual(['/keys?show=all', '/projects/prj_1']);
  expect(names({ error_code: 'rate_limit_exceeded', error_class: 'limited' })).toEqual(['/keys?show=all', '/projects/prj_1']);
  // The provider's own limit isn't mended at our key.
  expect(names({ error_code: 'rate_limit_exceeded', error_class: 'rate_limit', attempts: [{ principal: 'pcr_1' }] })).toEqual([]);
  expect(names({ error_code: 'model_not_found' })).toEqual(['/models?find=a%20b']);
  expect(names({ error_code: 'model_not_served', alias: { name: 'fast' } })).toEqual(['/aliases/fast', '/models?find=a%20b']);
});

test('a failed attempt leads to its credential or node', () => {
  expect(names({ error_class: 'upstream_auth', attempts: [{ principal: 'pcr_0' }, { principal: 'pcr_1' }] })).toEqual(['/credentials/pcr_1']);
  expect(names({ error_class: 'upstream', attempts: [{ principal: 'node_1' }] })).toEqual(['/nodes/node_1']);
  expect(names({ error_class: 'upstream', attempts: [{ principal: 'pcr_1' }] })).toEqual([]);
});

test('similar failures are filters', () => {
  expect(similar(failed({})).map((one) => one.filter)).toEqual(['error:internal_error', 'error:internal_error model:"a b"', 'error:internal_error key:key_1']);
  expect(similar(failed({ error_code: null }))).toEqual([]);
});

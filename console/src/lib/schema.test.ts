import { expect, test } from 'vitest';
import { fields, payload, providersOf } from './schema';
import type { CredentialKind } from './wire';

const kind = (schema: CredentialKind['schema']): CredentialKind => ({ provider: 'p', display_name: 'P', auth: 'api_key', title: 'API key', says: '', is_host_identity: false, permission: null, available: true, custom: false, base_url: null, base_url_example: null, environment_variable: null, schema });

test('one secret travels as it is', () => {
  const one = kind({ required: ['secret'], properties: { secret: { type: 'string', writeOnly: true } } });
  expect(payload(one, { secret: ' sk-1 ' })).toEqual({ auth: 'api_key', secret: 'sk-1' });
});

test('several secrets travel together, and the rest is configuration', () => {
  const aws = kind({
    required: ['access_key_id', 'secret_access_key', 'region'],
    properties: { region: { title: 'Region' }, access_key_id: { writeOnly: true }, session: { description: 'x' }, secret_access_key: { writeOnly: true } },
  });
  expect(fields(aws).map((field) => [field.name, field.label])).toEqual([
    ['access_key_id', 'Access key id'],
    ['secret_access_key', 'Secret access key'],
    ['region', 'Region'],
    ['session', 'Session'],
  ]);
  expect(payload(aws, { access_key_id: 'a', secret_access_key: 'b', region: 'eu', session: ' ' })).toEqual({ auth: 'api_key', secret: { access_key_id: 'a', secret_access_key: 'b' }, config: { region: 'eu' } });
});

test('a provider is offered once, by its usual kind', () => {
  const of = (provider: string, auth: string, available = true) => ({ ...kind({}), provider, auth, available });
  const offered = providersOf([of('a', 'api_key'), of('b', 'api_key', false), of('c', 'oauth_client'), of('c', 'api_key'), of('d', 'api_key')]);
  expect(offered.map((one) => [one.provider, one.auth])).toEqual([['a', 'api_key'], ['c', 'oauth_client'], ['d', 'api_key']]);
});

test('a secret that is an object is the file whole, and what has none sends none', () => {
  const file = kind({ required: ['secret'], properties: { secret: { type: 'object', writeOnly: true } } });
  expect(fields(file).map((field) => [field.isFile, field.isMap])).toEqual([[true, false]]);
  expect(payload(file, { secret: ' {"a":1}\n' })).toEqual({ auth: 'api_key', secret: '{"a":1}' });
  expect(payload(kind({ properties: {} }), {})).toEqual({ auth: 'api_key', secret: undefined });
});

test('names with a text each are lines', () => {
  const cloud = kind({ required: ['secret', 'deployments'], properties: { secret: { writeOnly: true }, deployments: { type: 'object', examples: ['m = n'] }, version: { type: 'string' } } });
  expect(fields(cloud).map((field) => [field.name, field.isMap, field.example])).toEqual([
    ['secret', false, undefined],
    ['deployments', true, 'm = n'],
    ['version', false, undefined],
  ]);
  const typed = { secret: 's', deployments: ' openai/gpt-4o = mine \n\nbare=also\nno deployment', version: '2024-10-21' };
  expect(payload(cloud, typed)).toEqual({ auth: 'api_key', secret: 's', config: { deployments: { 'openai/gpt-4o': 'mine', bare: 'also', 'no deployment': '' }, version: '2024-10-21' } });
});

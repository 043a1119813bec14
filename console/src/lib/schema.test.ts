import { expect, test } from 'vitest';
import { fields, payload } from './schema';
import type { CredentialKind } from './wire';

const kind = (schema: CredentialKind['schema']): CredentialKind => ({ provider: 'p', display_name: 'P', auth: 'api_key', available: true, base_url: null, environment_variable: null, schema });

test('one secret travels as it is', () => {
  const one = kind({ required: ['secret'], properties: { secret: { type: 'string', writeOnly: true } } });
  expect(payload(one, { secret: ' sk-1 ' })).toEqual({ secret: 'sk-1' });
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
  expect(payload(aws, { access_key_id: 'a', secret_access_key: 'b', region: 'eu', session: ' ' })).toEqual({ secret: { access_key_id: 'a', secret_access_key: 'b' }, config: { region: 'eu' } });
});

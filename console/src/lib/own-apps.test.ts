import { expect, test } from 'vitest';
import { hostOf, mergePatch, readJson, secretRows, secretState, secretUses } from './own-apps';
import type { NamedSecret, OwnApp } from './wire';

const app = { project_id: 'prj_1', url: 'https://API.example/orders/{number}', secrets: [] } as unknown as OwnApp;
const secret = (project_id: string, hosts: string[]) => ({ name: 'KEY', project_id, hosts }) as NamedSecret;

test('a host is written as the server writes it', () => {
  expect(['https://API.example/a/{b}', 'https://api.example:443', 'http://127.0.0.1:8081/x', 'nothing'].map(hostOf)).toEqual(['api.example', 'api.example', '127.0.0.1:8081', '']);
});

test('a secret is there where its project keeps it for the host of the app', () => {
  expect(secretState(app, 'KEY', [secret('prj_1', ['other.example', 'api.example'])])).toBe('there');
  expect(secretState(app, 'KEY', [secret('prj_1', ['other.example'])])).toBe('other_host');
  expect(secretState(app, 'KEY', [secret('prj_2', ['api.example'])])).toBe('missing');
});

test('a secret is sent again as it was', () => {
  const uses = [{ name: 'A', header: 'authorization', prefix: 'Bearer ' }, { name: 'B', header: 'x-key', prefix: '' }, { name: 'C', header: 'authorization', prefix: '' }];
  const rows = secretRows(uses);
  expect(rows.map(({ sent }) => sent)).toEqual(['bearer', 'header', 'header']);
  expect(secretUses([...rows, { name: ' ', sent: 'bearer', header: '', prefix: '' }])).toEqual([{ name: 'A' }, ...uses.slice(1)]);
});

test('text that is no JSON is told by its line', () => {
  expect(readJson(' ')).toEqual({});
  expect(readJson('{"a": 1}')).toEqual({ value: { a: 1 } });
  expect(readJson('{\n"a" 1}').wrong).toMatch(/^Line 2: /);
});

test('a patch takes away what is gone from a schema', () => {
  const before = { name: 'a', input_schema: { type: 'object', properties: { old: { type: 'string' }, both: { type: 'string' } } }, arguments: { old: 'query' }, secrets: [1] };
  const after = { ...before, input_schema: { type: 'object', properties: { both: { type: 'integer' } } }, arguments: undefined, secrets: [] };
  expect(mergePatch(before, after)).toEqual({ arguments: null, input_schema: { properties: { old: null, both: { type: 'integer' } } }, secrets: [] });
});

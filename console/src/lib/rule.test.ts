import { expect, test } from 'vitest';
import { offsetWords, sentence, templates } from './rule';
import type { RouteRule } from './wire';

const EMPTY: RouteRule = { id: '', scope: {}, strategy: 'none', profiles: [], providers: [], credential_ids: [], regions: [], node_labels: [], byok_fallback: 'never', fallback_on: [], created_at: '' };
const unnamed = () => undefined;

test('a route is one sentence', () => {
  expect(sentence(EMPTY, unnamed)).toBe('All requests: the default order.');
  expect(sentence({ ...EMPTY, scope: { key_id: 'key_1', model: 'openai/' }, credential_ids: ['pcr_1'] }, (id) => ({ key_1: 'ci', pcr_1: 'openai prod' })[id])).toBe('Requests for the key ci and models matching openai/: with openai prod.');
});

test('each template is a sentence that says what it is called', () => {
  const said = templates('+02:00').map(({ name, set }) => [name, sentence({ ...EMPTY, ...set }, unnamed)]);
  expect(said).toEqual([
    ['Own key first, then managed', 'All requests: served by Your keys (BYOK), then Managed; falls back to managed accounts if they fail.'],
    ['Own nodes only', 'All requests: served by Your nodes (BYOC).'],
    ['Nodes first, then own keys, then managed', 'All requests: nodes first, then your own keys, then managed accounts.'],
    ['Cheap at night', 'All requests (every day 22:00 to 06:00 (UTC+02:00)): the cheapest first.'],
  ]);
});

test('an offset is as routes take it', () => {
  expect([0, -120, 300, -330].map(offsetWords)).toEqual(['+00:00', '+02:00', '-05:00', '+05:30']);
});

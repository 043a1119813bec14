import { expect, test } from 'vitest';
import { placeWords } from './dry-run';

const place = { profile: 'byok', principal: 'pcr_1', provider: 'azure_openai', model: 'openai/gpt-5', upstream_model: 'gpt-5', region: 'eu', error: null };

test('a place is told by what serves, and an error by its code', () => {
  expect(placeWords(place)).toBe('openai/gpt-5 at azure_openai in eu, byok pcr_1');
  expect(placeWords({ ...place, region: null })).toBe('openai/gpt-5 at azure_openai, byok pcr_1');
  const none = { profile: null, principal: null, provider: null, model: null, upstream_model: null, region: null };
  expect(placeWords({ ...none, error: { code: 'model_not_served', detail: 'Nothing can serve it.' } })).toBe('refused (model_not_served)');
});

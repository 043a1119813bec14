import { expect, test } from 'vitest';
import { restriction, rules } from './policy';
import type { EffectivePolicy, Policy } from './wire';

const OPEN: Policy = {
  id: 'pol_1',
  project_id: null,
  workspace: true,
  allowed_providers: [],
  allowed_models: [],
  allowed_regions: [],
  region_policy: 'any',
  data_boundary: 'project',
  profiles: [],
  retention: null,
  compliance: [],
  limits: {},
  required_metadata: [],
  parameters: {},
  checks: [],
  hooks: [],
  created_at: '',
};

test('a policy without rules no restrictions', () => {
  expect(rules(OPEN, true)).toEqual(['no restrictions']);
});

test('each rule is told', () => {
  const policy: Policy = { ...OPEN, region_policy: 'eu_only', data_boundary: 'no_openrouter', retention: { days: 7 }, limits: { max_cost_micros: 20_000 }, allowed_tools: [], checks: [{ detect: 'national_id', action: 'mask', direction: 'both', restore: false }], hooks: [{ at: 'pre', url: 'https://hooks.example/decide', timeout_ms: 500, on_silence: 'refuse', content: false }] };
  expect(rules(policy, true)).toEqual(['European Union only', 'no emergency provider', 'retained for up to 7 days', 'at most $0.02 per request', 'functions: none', 'masks national id in requests and answers', 'requests are shown to hooks.example']);
});

test('an empty list of what is in force allows nothing', () => {
  const { parameters: _parameters, checks: _checks, ...open } = OPEN;
  const both: EffectivePolicy = { ...open, policy_ids: [], project_id: 'prj_1', allowed_providers: null, allowed_models: [], allowed_regions: null, profiles: null, allowed_tools: null, allowed_hosted_tools: null, allowed_file_kinds: null };
  expect(rules(both, false)).toContain('models: none');
});

test('an address begins a policy with a restriction that there is', () => {
  expect([restriction('eu_only'), restriction('us_only')]).toEqual(['eu_only', 'us_only']);
  for (const word of [null, '', 'moon_only', 'toString']) expect(restriction(word), String(word)).toBe('any');
});

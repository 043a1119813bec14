import { expect, test } from 'vitest';
import { origins } from './policy-origin';
import type { EffectivePolicy, Policy } from './wire';

const policy = (more: Partial<Policy>): Policy => ({ id: 'pol_w', project_id: null, workspace: true, allowed_providers: [], allowed_models: [], allowed_regions: [], region_policy: 'any', data_boundary: 'project', profiles: [], retention: null, compliance: [], limits: {}, required_metadata: [], parameters: {}, checks: [], hooks: [], created_at: '', ...more });
const together = (more: Partial<EffectivePolicy>): EffectivePolicy => ({ project_id: 'prj_1', policy_ids: ['pol_w', 'pol_p'], allowed_providers: null, allowed_models: null, allowed_regions: null, data_boundary: 'project', profiles: null, retention: null, compliance: [], limits: {}, required_metadata: [], allowed_tools: null, allowed_hosted_tools: null, allowed_file_kinds: null, hooks: [], ...more });

test('what the workspace says is inherited, in whichever order, and the rest is the project’s own', () => {
  const policies = [policy({ allowed_providers: ['openai', 'anthropic'], limits: { max_output_tokens: 900 } }), policy({ id: 'pol_p', workspace: false, project_id: 'prj_1', limits: { max_output_tokens: 100 } })];
  expect(origins(together({ allowed_providers: ['anthropic', 'openai'], limits: { max_output_tokens: 100 } }), policies)).toEqual([
    { rule: 'providers: anthropic, openai', isInherited: true },
    { rule: 'at most 100 output tokens', isInherited: false },
  ]);
});

test('nothing is told where everything is allowed', () => {
  expect(origins(together({}), [])).toEqual([]);
});

// A policy in words.

import { exactMoney } from './format';
import type { EffectivePolicy, Policy } from './wire';

const BOUNDARIES: Record<string, string> = { strict: 'no emergency provider (strict)', no_openrouter: 'no emergency provider' };
const REGIONS: Record<string, string> = { us_only: 'United States only', eu_only: 'European Union only' };

/** The region restriction that an address begins a policy with; nothing else is one. */
export const restriction = (word: string | null): string => (word !== null && Object.hasOwn(REGIONS, word) ? word : 'any');

type Rules = Policy | EffectivePolicy;

/** What a list allows: nothing is said of one that allows everything. */
function list(said: string[], words: string, names: string[] | null | undefined, emptyIsAll: boolean): void {
  if (!names || (emptyIsAll && names.length === 0)) return;
  said.push(names.length === 0 ? `${words} none` : `${words} ${names.join(', ')}`);
}

const ALL = 'no restrictions';

/** Whether a policy has any rule: one without says so in words. */
export const allows = (said: readonly string[]): boolean => said[0] === ALL;

/** Each rule as half a sentence; `emptyIsAll` says how its lists of places are meant. */
export function rules(policy: Rules, emptyIsAll: boolean): string[] {
  const said: string[] = [];
  const region = 'region_policy' in policy ? REGIONS[policy.region_policy] : undefined;
  if (region) said.push(region);
  list(said, 'regions:', policy.allowed_regions, emptyIsAll);
  const boundary = BOUNDARIES[policy.data_boundary];
  if (boundary) said.push(boundary);
  list(said, 'providers:', policy.allowed_providers, emptyIsAll);
  list(said, 'models:', policy.allowed_models, emptyIsAll);
  list(said, 'profiles:', policy.profiles, emptyIsAll);
  if (policy.retention === 'zero') said.push('zero retention');
  else if (policy.retention) said.push(`retained for up to ${policy.retention.days} days`);
  list(said, 'agreed:', policy.compliance, true);
  const { max_output_tokens: output, max_input_tokens: input, max_cost_micros: cost, max_duration_ms: duration } = policy.limits;
  if (output) said.push(`at most ${output} output tokens`);
  if (input) said.push(`at most ${input} input tokens`);
  if (cost !== undefined) said.push(`at most ${exactMoney(cost)} per request`);
  if (duration) said.push(`at most ${duration} ms`);
  list(said, 'required metadata:', policy.required_metadata, true);
  list(said, 'functions:', policy.allowed_tools, false);
  list(said, 'hosted tools:', policy.allowed_hosted_tools, false);
  list(said, 'files:', policy.allowed_file_kinds, false);
  if ('parameters' in policy) {
    for (const [name, range] of Object.entries(policy.parameters)) said.push(`${name} from ${range.min ?? 'any'} to ${range.max ?? 'any'}${range.clamp ? ', clamped' : ''}`);
    for (const check of policy.checks) said.push(`${check.action}s ${check.detect.replace('_', ' ')} in ${check.direction === 'both' ? 'requests and answers' : check.direction === 'output' ? 'answers' : 'requests'}`);
  }
  for (const hook of policy.hooks) said.push(`${hook.at === 'pre' ? 'requests' : 'answers'} are shown to ${new URL(hook.url).host}`);
  return said.length === 0 ? [ALL] : said;
}

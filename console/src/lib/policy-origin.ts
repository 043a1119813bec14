// Where the rules of a project's policy come from: the workspace's, or what the project tightens.

import { allows, rules } from './policy';
import type { EffectivePolicy, Policy } from './wire';

export interface RuleOrigin {
  rule: string;
  isInherited: boolean;
}

/** A rule without the order of its list. */
const sorted = (rule: string) => rule.split(/[\s,]+/).sort().join(' ');

/** Each rule that holds, and whether the workspace's policies say exactly it. */
export function origins(together: EffectivePolicy, policies: Policy[]): RuleOrigin[] {
  const inherited = new Set(policies.filter((one) => one.workspace && together.policy_ids.includes(one.id)).flatMap((one) => rules(one, true).map(sorted)));
  const held = rules(together, false);
  return allows(held) ? [] : held.map((rule) => ({ rule, isInherited: inherited.has(sorted(rule)) }));
}

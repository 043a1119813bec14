// Two requests side by side: each fact of both, those that differ first.

import { count, duration, exactMoney } from './format';
import { outcomeLabel, profileLabel } from './series';
import { t } from './text';
import type { Exchange } from './wire';

export interface Fact {
  name: string;
  left: string;
  right: string;
  differs: boolean;
}

/** In the address, where another request is to be chosen. */
export const CHOOSE = 'choose';

const NONE = '–';
const cost = (one: Exchange) => (one.unpriced ? 'no price' : exactMoney(one.cost_nanos > 0 ? one.cost_nanos : one.provider_cost_nanos, 9));

const FACTS: [string, (one: Exchange) => string | null | undefined][] = [
  ['Outcome', (one) => `${one.status} ${outcomeLabel(one.outcome === 'failed' && one.attempts.length === 0 ? 'refused' : one.outcome)}`],
  ['Error', (one) => one.error_code],
  ['Why', (one) => one.error?.message],
  ['Model', (one) => one.requested_model],
  ['Resolved model', (one) => one.attempts.at(-1)?.upstream_model],
  ['Profile', (one) => one.profile && profileLabel(one.profile)],
  ['Provider', (one) => one.provider],
  ['Credential or node', (one) => one.principal],
  ['Region', (one) => one.attempts.at(-1)?.region],
  ['Attempts', (one) => count(one.attempts.length)],
  ['Fallback', (one) => (one.fallback_used ? t('yes') : t('no'))],
  ['Route', (one) => one.plan.route_id],
  ['Refused candidates', (one) => one.plan.rejected.map((row) => `${row.principal}: ${row.reason}`).join(', ')],
  ['Operation', (one) => `${one.operation}, ${one.dialect}`],
  ['Streamed', (one) => (one.stream ? t('yes') : t('no'))],
  ['Key', (one) => one.key_id],
  ['Project', (one) => one.project_id],
  ['Environment', (one) => one.environment],
  ['Tag', (one) => one.tag],
  ['Input tokens', (one) => count(one.input_tokens)],
  ['Cached tokens', (one) => count(one.cached_tokens)],
  ['Output tokens', (one) => count(one.output_tokens)],
  ['Reasoning tokens', (one) => count(one.reasoning_tokens)],
  ['Cost', cost],
  ['First byte', (one) => duration(one.timeline.first_byte_us || null)],
  ['Total', (one) => duration(one.timeline.settled_us)],
  ['Configuration', (one) => `version ${one.plan.snapshot_version}`],
];

export function facts(left: Exchange, right: Exchange, named: (id: string) => string | undefined): Fact[] {
  const shown = (value: string | null | undefined) => (value ? (named(value) ?? value) : NONE);
  const all = FACTS.map(([name, of]) => {
    const [a, b] = [shown(of(left)), shown(of(right))];
    return { name, left: a, right: b, differs: a !== b };
  });
  return [...all.filter((fact) => fact.differs), ...all.filter((fact) => !fact.differs)];
}

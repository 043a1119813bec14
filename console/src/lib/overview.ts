// What Home shows, read as one picture of one moment.

import { get } from './api';
import { many } from './format';
import { before, bucketMs, buckets, intervalOf, rangeQuery, type Range } from './range';
import type { AnalyticsRow, BillingSnapshot, Credential, Usage, UsageRow } from './wire';
import type { Page } from './api';

export interface Overview {
  range: Range;
  starts: number[];
  bucket: number;
  total: AnalyticsRow;
  before: UsageRow | undefined;
  timeline: AnalyticsRow[];
  models: UsageRow[];
  outcomes: UsageRow[];
  profiles: UsageRow[];
}

export const NOTHING: AnalyticsRow = {
  requests: 0,
  input_tokens: 0,
  output_tokens: 0,
  cached_tokens: 0,
  cost_micros: 0,
  provider_cost_micros: 0,
  spend_micros: 0,
  reasoning_tokens: 0,
  cache_write_tokens: 0,
  realized_reused_tokens: 0,
  failed_requests: 0,
  unattempted_requests: 0,
  estimated_requests: 0,
  unpriced_requests: 0,
  attempts: 0,
  success_rate: null,
  latency_us: null,
  time_to_first_byte_us: null,
};

export async function loadOverview(range: Range, signal: AbortSignal): Promise<Overview> {
  const span = rangeQuery(range);
  const interval = intervalOf(range);
  const usage = (query: Record<string, string>) => get<Usage<UsageRow>>('/v2/usage', { ...span, ...query }, signal);
  const [total, earlier, timeline, models, outcomes, profiles] = await Promise.all([
    get<Usage<AnalyticsRow>>('/v2/analytics', span, signal),
    get<Usage<UsageRow>>('/v2/usage', rangeQuery(before(range)), signal),
    get<Usage<AnalyticsRow>>('/v2/analytics', { ...span, interval }, signal),
    usage({ group_by: 'model', interval }),
    usage({ group_by: 'outcome', interval }),
    usage({ group_by: 'profile' }),
  ]);
  const bucket = bucketMs(range);
  return {
    range,
    starts: buckets(range, bucket),
    bucket,
    total: total.data[0] ?? NOTHING,
    before: earlier.data[0],
    timeline: timeline.data,
    models: models.data,
    outcomes: outcomes.data,
    profiles: profiles.data,
  };
}

export interface Concern {
  tone: 'bad' | 'warn';
  title: string;
  detail: string;
  action: string;
  href: string;
}

interface Listed {
  id: string;
  name: string;
  status: string;
  last_error: string | null;
}

/** What somebody should look at, the worst first. */
export async function loadConcerns(signal: AbortSignal): Promise<Concern[]> {
  const none = (error: unknown) => {
    if (signal.aborted) throw error;
    return undefined;
  };
  const [credentials, nodes, billing] = await Promise.all([
    get<Page<Credential>>('/v2/provider-credentials', { limit: 200 }, signal).catch(none),
    get<Page<Listed>>('/v2/byoc/nodes', { limit: 200 }, signal).catch(none),
    get<BillingSnapshot>('/v2/billing/snapshot', {}, signal).catch(none),
  ]);
  const found: Concern[] = [];
  for (const one of credentials?.data ?? []) {
    if (one.status === 'invalid') {
      found.push({ tone: 'bad', title: `The credential “${one.display_name}” is refused`, detail: one.last_error ?? `${one.provider} does not accept it any more.`, action: 'Rotate it', href: `/credentials/${one.id}` });
    }
  }
  for (const one of nodes?.data ?? []) {
    if (one.status === 'unreachable') {
      found.push({ tone: 'bad', title: `The node “${one.name}” can’t be reached`, detail: one.last_error ?? 'It does not answer.', action: 'Look at it', href: `/nodes/${one.id}` });
    }
  }
  if (billing && billing.unpriced_event_count > 0) {
    found.push({ tone: 'warn', title: `${many(billing.unpriced_event_count, 'request')} of this month without a price`, detail: 'Their tokens are counted, their cost is not known.', action: 'See models', href: '/usage?range=month&group=model' });
  }
  if (billing && billing.unmetered_event_count > 0) {
    found.push({ tone: 'warn', title: `${many(billing.unmetered_event_count, 'request')} of this month without a token count`, detail: 'Their provider did not say, and it could not be estimated.', action: 'See usage', href: '/usage?range=month&group=provider' });
  }
  return found.slice(0, 5);
}

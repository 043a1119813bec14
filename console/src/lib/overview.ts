// What Home shows, read as one picture of one moment.

import { get } from './api';
import { PLAYGROUND } from './checklist';
import { ahead, many, money } from './format';
import { before, bucketMs, buckets, intervalOf, rangeQuery, type Range } from './range';
import type { AnalyticsRow, ApiKey, BillingSnapshot, Credential, Usage, UsageRow, Webhook } from './wire';
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

/** A budget, as far as somebody should look at it. */
interface Bounded {
  id: string;
  name?: string | null;
  limit_micros: number;
  spent_micros: number;
  on_reached: string;
  period_end: string;
  status: string;
}

interface Prepaid {
  credit_micros: number | null;
  credited_micros: number;
}

/** What is looked through; a list that may not be read, or that an older server has not, is left out. */
export interface Watched {
  credentials?: Pick<Credential, 'id' | 'display_name' | 'provider' | 'status' | 'last_error' | 'expires_at'>[];
  nodes?: Listed[];
  budgets?: Bounded[];
  keys?: Pick<ApiKey, 'id' | 'name' | 'status' | 'expires_at'>[];
  webhooks?: Pick<Webhook, 'id' | 'url' | 'status' | 'disabled_reason'>[];
  billing?: Pick<BillingSnapshot, 'unpriced_event_count' | 'unmetered_event_count'>;
  credit?: Prepaid;
}

const CONCERNS_MAX = 5;
const SOON_MS = 7 * 86_400_000;
/** Credit below this part of what was paid ahead is about to run out. */
const CREDIT_LEFT = 0.1;

/** Whether it ends within a week; what has ended already is another matter. */
function endsSoon(at: string | null, nowMs: number): boolean {
  const left = at === null ? Infinity : Date.parse(at) - nowMs;
  return left > 0 && left < SOON_MS;
}

function ofBudgets(budgets: readonly Bounded[], nowMs: number): Concern[] {
  return budgets.flatMap((one) => {
    if (one.status === 'ok') return [];
    const whose = one.name ? `The budget “${one.name}”` : 'A budget';
    const spent = `${money(one.spent_micros)} of ${money(one.limit_micros)} spent; it starts over ${ahead(new Date(one.period_end), nowMs)}`;
    const isReached = one.status === 'reached';
    const title = isReached ? `${whose} is reached` : `${whose} is nearly reached`;
    const detail = isReached && one.on_reached === 'pause' ? `${spent}. Requests are refused until then.` : `${spent}.`;
    return [{ tone: isReached ? ('bad' as const) : ('warn' as const), title, detail, action: 'See the budget', href: `/budgets?id=${one.id}` }];
  });
}

function ofCredentials(credentials: NonNullable<Watched['credentials']>, nowMs: number): Concern[] {
  return credentials.flatMap((one): Concern[] => {
    const at = { action: 'Rotate it', href: `/credentials/${one.id}` };
    if (one.status === 'invalid') return [{ tone: 'bad', title: `The credential “${one.display_name}” is refused`, detail: one.last_error ?? `${one.provider} does not accept it any more.`, ...at }];
    if (one.expires_at && Date.parse(one.expires_at) <= nowMs) return [{ tone: 'bad', title: `The credential “${one.display_name}” has expired`, detail: `Nothing is sent to ${one.provider} with it.`, ...at }];
    if (endsSoon(one.expires_at, nowMs)) return [{ tone: 'warn', title: `The credential “${one.display_name}” expires ${ahead(new Date(one.expires_at ?? 0), nowMs)}`, detail: `Requests to ${one.provider} need another one by then.`, ...at }];
    return [];
  });
}

/** What somebody should look at, the worst first. */
export function concernsOf(watched: Watched, nowMs: number): Concern[] {
  const { billing, credit } = watched;
  const found: Concern[] = [...ofCredentials(watched.credentials ?? [], nowMs), ...ofBudgets(watched.budgets ?? [], nowMs)];
  for (const one of watched.nodes ?? []) {
    if (one.status === 'unreachable') found.push({ tone: 'bad', title: `The node “${one.name}” can’t be reached`, detail: one.last_error ?? 'It does not answer.', action: 'Look at it', href: `/nodes/${one.id}` });
  }
  if (credit && credit.credit_micros !== null && credit.credit_micros <= credit.credited_micros * CREDIT_LEFT) {
    const isOut = credit.credit_micros <= 0;
    found.push({ tone: isOut ? 'bad' : 'warn', title: isOut ? 'The prepaid credit is used up' : 'The prepaid credit runs out', detail: isOut ? 'Requests that cost something are refused.' : `${money(credit.credit_micros)} of ${money(credit.credited_micros)} left.`, action: 'See billing', href: '/billing' });
  }
  for (const one of watched.webhooks ?? []) {
    // A person who disables one leaves a reason too.
    if (one.status === 'disabled' && one.disabled_reason && one.disabled_reason !== 'somebody disabled it') found.push({ tone: 'bad', title: 'A webhook is disabled', detail: `${one.url}: ${one.disabled_reason}`, action: 'See deliveries', href: `/webhooks/${one.id}` });
  }
  for (const one of watched.keys ?? []) {
    if (one.status === 'active' && one.name !== PLAYGROUND && endsSoon(one.expires_at, nowMs)) found.push({ tone: 'warn', title: `The API key “${one.name}” expires ${ahead(new Date(one.expires_at ?? 0), nowMs)}`, detail: 'Requests with it are refused then.', action: 'See keys', href: '/keys' });
  }
  if (billing && billing.unpriced_event_count > 0) {
    found.push({ tone: 'warn', title: `${many(billing.unpriced_event_count, 'request')} of this month without a price`, detail: 'Their tokens are counted, their cost is not known.', action: 'See models', href: '/usage?range=month&group=model' });
  }
  if (billing && billing.unmetered_event_count > 0) {
    found.push({ tone: 'warn', title: `${many(billing.unmetered_event_count, 'request')} of this month without a token count`, detail: 'Their provider did not say, and it could not be estimated.', action: 'See usage', href: '/usage?range=month&group=provider' });
  }
  return [...found.filter((one) => one.tone === 'bad'), ...found.filter((one) => one.tone === 'warn')].slice(0, CONCERNS_MAX);
}

export async function loadConcerns(signal: AbortSignal): Promise<Concern[]> {
  const none = (error: unknown) => {
    if (signal.aborted) throw error;
    return undefined;
  };
  const one = <T>(path: string, query: Record<string, number> = {}) => get<T>(path, query, signal).catch(none);
  const list = async <Row>(path: string) => (await one<Page<Row>>(path, { limit: 200 }))?.data;
  const [credentials, nodes, budgets, keys, webhooks, billing, credit] = await Promise.all([
    list<Credential>('/v2/provider-credentials'),
    list<Listed>('/v2/byoc/nodes'),
    list<Bounded>('/v2/budgets'),
    list<ApiKey>('/v2/api-keys'),
    list<Webhook>('/v2/webhooks'),
    one<BillingSnapshot>('/v2/billing/snapshot'),
    one<Prepaid>('/v2/billing/account'),
  ]);
  return concernsOf({ credentials, nodes, budgets, keys, webhooks, billing, credit }, Date.now());
}

// What Home shows, read as one picture of one moment.

import { spanWords, stateOf, valueWords } from './alert';
import { get, getIfAllowed } from './api';
import type { Budget } from './budget';
import { isOfPlayground } from './checklist';
import { ahead } from './format';
import { before, bucketMs, buckets, intervalOf, rangeQuery, type Range } from './range';
import type { AlertRule, AnalyticsRow, Attention, Usage, UsageRow } from './wire';

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

/** What somebody should look at, and where. */
export interface Concern {
  id: string;
  tone: 'bad' | 'warn';
  text: string;
  action: string;
  href: string;
}

/** A budget that is used up: what happens until it starts over. */
type UsedUp = Pick<Budget, 'id' | 'on_reached' | 'period_end'>;

/** What is looked through; what may not be read, or what an older server has not, is left out. */
export interface Watched {
  attention?: Attention[];
  rules?: AlertRule[];
  budgets?: UsedUp[];
}

const CONCERNS_MAX = 5;

/** What is done about each kind, and where, if not at the server's own link. */
const DONE: Record<string, [action: string, href?: string]> = {
  gateway: ['View'],
  budget: ['View budget', '/budgets'],
  credit: ['View billing'],
  credential: ['Rotate'],
  key: ['View keys'],
  node: ['View'],
  webhook: ['View deliveries'],
  requests_failing: ['View requests'],
  requests_unpriced: ['View models'],
};

/** The playground's keys end within a day, always. */
function isMeant({ kind, subject_name }: Attention): boolean {
  return kind.startsWith('key_') && isOfPlayground(subject_name);
}

function ofAttention(one: Attention, budgets: readonly UsedUp[], nowMs: number): Concern {
  const { kind, severity, subject_id: subject, message } = one;
  const [action, href = one.link] = DONE[kind] ?? DONE[kind.slice(0, kind.indexOf('_'))] ?? ['View usage'];
  const budget = kind === 'budget_reached' ? budgets.find(({ id }) => id === subject) : undefined;
  const reset = budget && ahead(new Date(budget.period_end), nowMs);
  const then = !budget ? '' : budget.on_reached === 'pause' ? ` Requests are refused until it resets ${reset}.` : ` It resets ${reset}.`;
  return {
    id: `${kind} ${subject ?? ''}`,
    tone: severity === 'error' ? 'bad' : 'warn',
    text: `${message}${then}`,
    action,
    href: href === '/budgets' && subject ? `/budgets?id=${subject}` : href,
  };
}

function ofRule(rule: AlertRule): Concern {
  const measured = rule.value === null ? '' : `${valueWords(rule.metric, rule.value)} in ${spanWords(rule.window_minutes)}, `;
  return { id: rule.id, tone: 'bad', text: `The alert rule “${rule.name}” fires: ${measured}above ${valueWords(rule.metric, rule.threshold)}.`, action: 'View alert rules', href: '/alerts' };
}

/** What somebody should look at, the worst first. */
export function concernsOf({ attention = [], rules = [], budgets = [] }: Watched, nowMs: number): Concern[] {
  const found = [...rules.filter((rule) => stateOf(rule) === 'firing').map(ofRule), ...attention.filter((one) => !isMeant(one)).map((one) => ofAttention(one, budgets, nowMs))];
  return [...found.filter((one) => one.tone === 'bad'), ...found.filter((one) => one.tone === 'warn')].slice(0, CONCERNS_MAX);
}

export async function loadConcerns(signal: AbortSignal): Promise<Concern[]> {
  // While the server is away, what was found stays.
  const list = async <Row>(path: string, query = {}) => (await getIfAllowed<{ data: Row[] }>(path, query, signal))?.data;
  const [attention, rules] = await Promise.all([list<Attention>('/v2/attention'), list<AlertRule>('/v2/alert-rules', { limit: 1000 })]);
  const isUsedUp = attention?.some(({ kind }) => kind === 'budget_reached');
  const budgets = isUsedUp ? await list<UsedUp>('/v2/budgets', { limit: 1000 }) : undefined;
  return concernsOf({ attention, rules, budgets }, Date.now());
}

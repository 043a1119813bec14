// What the usage page can show: measures, and what they are told apart by.

import { exactMoney, count, duration, money, short } from './format';
import type { Field } from './filter';
import { t } from './text';
import type { Sums, UsageRow } from './wire';
import { capital } from './words';

export interface Metric {
  id: string;
  name: string;
  of: (row: UsageRow) => number;
  format: (value: number) => string;
  exact: (value: number) => string;
  /** A percentile of times, which `/v2/analytics` has and which doesn't add up. */
  isTime?: boolean;
}

/** What the workspace pays in all: what it owes, and its own providers' bill. */
export const spend = (row: Sums) => row.spend_micros ?? row.cost_micros;
/** What its own providers bill it. What an account costs is the operator's. */
export const ownBill = (row: Sums) => spend(row) - row.cost_micros;
/** All requests, the refused ones among them. */
export const asked = (row: UsageRow) => row.requests + row.unattempted_requests;

const time = (us: number) => duration(Number.isFinite(us) ? us : null);
const ofTimes = { format: time, exact: time, isTime: true };

export const METRICS: Metric[] = [
  { id: 'spend', name: 'Spend', of: spend, format: money, exact: exactMoney },
  { id: 'owed', name: 'Owed', of: (row) => row.cost_micros, format: money, exact: exactMoney },
  { id: 'bills', name: 'Your providers bill', of: ownBill, format: money, exact: exactMoney },
  { id: 'tokens', name: 'Tokens', of: (row) => row.input_tokens + row.output_tokens, format: short, exact: count },
  { id: 'input', name: 'Input tokens', of: (row) => row.input_tokens, format: short, exact: count },
  { id: 'output', name: 'Output tokens', of: (row) => row.output_tokens, format: short, exact: count },
  { id: 'cached', name: 'Cached tokens', of: (row) => row.cached_tokens, format: short, exact: count },
  { id: 'video', name: 'Seconds of video', of: (row) => (row.video_ms ?? 0) / 1_000, format: short, exact: count },
  { id: 'requests', name: 'Requests', of: asked, format: short, exact: count },
  { id: 'failed', name: 'Failed requests', of: (row) => row.failed_requests, format: short, exact: count },
  { id: 'latency_p50', name: 'Total latency, p50', of: (row) => row.latency_us?.p50 ?? NaN, ...ofTimes },
  { id: 'latency_p95', name: 'Total latency, p95', of: (row) => row.latency_us?.p95 ?? NaN, ...ofTimes },
  { id: 'ttft_p50', name: 'First byte, p50', of: (row) => row.time_to_first_byte_us?.p50 ?? NaN, ...ofTimes },
  { id: 'ttft_p95', name: 'First byte, p95', of: (row) => row.time_to_first_byte_us?.p95 ?? NaN, ...ofTimes },
];

export const GROUPS = ['model', 'key', 'project', 'provider', 'profile', 'mode', 'environment', 'outcome', 'status', 'operation', 'region', 'tag', 'qos_class', 'credential', 'node', 'agent', 'adapter', 'task', 'end_user', 'cache_tier', 'error_code', 'account'] as const;
export type Group = (typeof GROUPS)[number];

/** What requests are filtered by to find those of a group; they have no field for the operator's accounts. */
export const fieldOf = (group: Group): Field | undefined => (group === 'error_code' ? 'error' : group === 'account' ? undefined : group);

/** What people call each group within a sentence: as the columns of Requests and the facts of a request do. */
const GROUP_NAMES: Record<Group, string> = {
  model: t('model'),
  key: t('key'),
  project: t('project'),
  provider: t('provider'),
  profile: t('profile'),
  mode: t('mode'),
  environment: t('environment'),
  outcome: t('outcome'),
  status: t('status'),
  operation: t('operation'),
  region: t('region'),
  tag: t('tag'),
  qos_class: t('class'),
  credential: t('credential'),
  node: t('node'),
  agent: t('agent'),
  adapter: t('adapter'),
  task: t('task'),
  end_user: t('end user'),
  cache_tier: t('cache tier'),
  error_code: t('error code'),
  account: t('account'),
};

export const groupName = (group: Group): string => GROUP_NAMES[group];

/** The name of a group where it stands alone: in a heading, or as an option. */
export const groupTitle = (group: Group): string => capital(groupName(group));

/** What a million tokens of a row cost, rounded half up, out of whole micros. */
export function unitPrice(row: Sums, micros: number): string {
  const tokens = row.input_tokens + row.output_tokens;
  if (tokens === 0 || micros === 0) return '–';
  const scaled = (BigInt(micros) * 1_000_000n * 2n + BigInt(tokens)) / (2n * BigInt(tokens));
  return money(Number(scaled));
}

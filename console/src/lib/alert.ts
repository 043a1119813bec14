// An alert rule in words: what it measures, above which value it fires, and of which requests.

import { dollars, typedDollars } from './dollars';
import { term } from './filter';
import { count, exactMoney, many, percents } from './format';
import type { AlertMetric, AlertRule, Webhook } from './wire';
import { plain } from './words';

interface Metric {
  metric: AlertMetric;
  label: string;
  /** The unit of its threshold, after a comma. */
  unit: string;
  /** It says nothing of few requests. */
  needsMany?: boolean;
  /** The requests that it counts, among those in its window. */
  filter?: string;
}

export const METRICS: readonly Metric[] = [
  { metric: 'spend_micros', label: 'Spend', unit: 'in dollars' },
  { metric: 'requests', label: 'Requests', unit: 'in requests' },
  { metric: 'refused_requests', label: 'Refused requests', unit: 'in requests', filter: 'attempts:0' },
  { metric: 'error_percent', label: 'Failed requests', unit: 'in percent', needsMany: true, filter: 'outcome:failed' },
  { metric: 'latency_p95_ms', label: 'Latency, p95', unit: 'in milliseconds', needsMany: true },
  { metric: 'first_byte_p95_ms', label: 'First byte, p95', unit: 'in milliseconds', needsMany: true },
];
export const WINDOW_MINUTES_MAX = 1_440;

export function metricOf(name: string): Metric {
  return METRICS.find(({ metric }) => metric === name) ?? { metric: name as AlertMetric, label: plain(name), unit: '' };
}

/** A whole number as somebody types it. */
export function whole(text: string): number | undefined {
  return /^\d{1,15}$/.test(text.trim()) ? Number(text) : undefined;
}

/** A threshold as somebody types it, in the unit of the API. */
export function readThreshold(metric: string, text: string): number | undefined {
  return metric === 'spend_micros' ? dollars(text) : whole(text);
}

/** A threshold as its field has it. */
export function writeThreshold(metric: string, threshold: number): string {
  return metric === 'spend_micros' ? typedDollars(threshold) : String(threshold);
}

export function valueWords(metric: string, value: number): string {
  if (metric === 'spend_micros') return exactMoney(value);
  if (metric === 'error_percent') return percents(value);
  return metric.endsWith('_ms') ? `${count(value)} ms` : many(value, 'request');
}

export function spanWords(minutes: number): string {
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${minutes} min`;
}

/** The state of a rule, as its badge has it. */
export function stateOf(rule: Pick<AlertRule, 'status' | 'firing_since' | 'measured_at'>): string {
  if (rule.status === 'disabled') return 'disabled';
  if (rule.firing_since) return 'firing';
  return rule.measured_at ? 'ok' : 'pending';
}

/** Which requests a rule measures. */
export function scopeWords(rule: AlertRule, name: (id: string | null) => string | undefined): string {
  const parts = [
    rule.project_id && `project ${name(rule.project_id) ?? rule.project_id}`,
    rule.key_id && `key ${name(rule.key_id) ?? rule.key_id}`,
    rule.model && `model ${rule.model}`,
    rule.provider && `provider ${rule.provider}`,
  ].filter(Boolean);
  return parts.length === 0 ? 'all requests' : parts.join(', ');
}

/** The address parameters that list what the last measurement counted; nothing before the first one. */
export function measured(rule: AlertRule): { from: string; to: string; filter: string } | undefined {
  if (!rule.measured_at) return undefined;
  const to = Date.parse(rule.measured_at);
  const filter = [
    rule.project_id && term('project', rule.project_id),
    rule.key_id && term('key', rule.key_id),
    rule.model && term('model', rule.model),
    rule.provider && term('provider', rule.provider),
    metricOf(rule.metric).filter,
  ];
  return { from: new Date(to - rule.window_minutes * 60_000).toISOString(), to: rule.measured_at, filter: filter.filter(Boolean).join(' ') };
}

/** Whether a webhook is sent what alert rules find. */
export function takesAlerts({ events }: Pick<Webhook, 'events'>): boolean {
  return events.length === 0 || events.includes('alert.firing') || events.includes('alert.resolved');
}

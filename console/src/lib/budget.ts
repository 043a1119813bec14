// A budget in words: what it applies to, and how it stands by its money.

import { term } from './filter';
import { percents } from './format';

export interface Budget {
  id: string;
  name?: string;
  project_id?: string | null;
  key_id?: string | null;
  workspace?: boolean;
  end_user?: string | null;
  limit_micros: number;
  spent_micros: number;
  reserved_micros: number;
  free_micros: number;
  period: string;
  period_start: string;
  period_end: string;
  on_reached: string;
  counts: string;
  alerts: number[];
  alerts_crossed: { percent: number; at: string; spent_micros: number }[];
}

const NEAR_PERCENT = 80;

/** By the money alone: a request that was refused because it would have cost more than is left uses nothing up. */
export function standing({ limit_micros: limit, spent_micros: spent, reserved_micros: reserved }: Budget): readonly [tone: string, words: string] | undefined {
  if (spent >= limit) return ['bad', 'used up'];
  const percent = Math.floor(((spent + reserved) * 100) / limit);
  return percent >= NEAR_PERCENT ? ['warn', `${percents(percent)} used`] : undefined;
}

/** A name that a person gave; who gives none gets one made of what the budget applies to and its period. */
export function givenName({ name, period }: Budget): string | undefined {
  return name && !new RegExp(`^(workspace|project|key|end.user) by the ${period}$`).test(name) ? name : undefined;
}

/** What finds the requests that a budget covers. */
export function filterOf({ key_id: key, project_id: project, end_user: user }: Budget): string {
  return user ? term('end_user', user) : key ? `key:${key}` : project ? `project:${project}` : '';
}

interface Refused {
  started_at: string;
  refused_by?: string | null;
}

/** The requests that a budget refused in its period. */
export function refusedOf(budget: Budget, refused: readonly Refused[]): number {
  const start = Date.parse(budget.period_start);
  return refused.filter((row) => row.refused_by === budget.id && Date.parse(row.started_at) >= start).length;
}

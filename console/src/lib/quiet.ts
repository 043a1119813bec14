// Quiet hours as a form has them: the part of the week in which a webhook's events wait.

import { offsetWords, WEEKDAYS } from './rule';
import type { TimeWindow } from './wire';

export interface QuietHours {
  from: string;
  to: string;
  offset: string;
  weekdays: string[];
}

/** Without any, the clock on the wall is what somebody thinks of. */
export function quietHours(window: TimeWindow | null | undefined, minutesWest: number): QuietHours {
  return window ? { from: window.from, to: window.to, offset: window.utc_offset, weekdays: [...window.weekdays] } : { from: '', to: '', offset: offsetWords(minutesWest), weekdays: [] };
}

/** What is sent: nothing where no hour and no day is set. */
export function quietWindow({ from, to, offset, weekdays }: QuietHours): TimeWindow | null {
  const [start, end] = [from.trim(), to.trim()];
  if (start === '' && end === '' && weekdays.length === 0) return null;
  return { weekdays: weekdays.length > 0 ? WEEKDAYS.filter((day) => weekdays.includes(day)) : WEEKDAYS, from: start || '00:00', to: end || '00:00', utc_offset: offset.trim() || '+00:00' };
}

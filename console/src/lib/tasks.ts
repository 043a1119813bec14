// Where a task is, and how long it was there.

import type { Task } from './wire';

const ENDED = ['completed', 'failed', 'cancelled'];

export const isOpen = (task: Task): boolean => !ENDED.includes(task.status);

export interface Stay {
  status: string;
  at: string;
  /** Until what came next, or until now; of a task's end there is none. */
  ms?: number;
}

export function stays(task: Task, nowMs: number): Stay[] {
  return task.events.map(({ status, at }, place) => {
    const next = task.events[place + 1];
    const until = next ? new Date(next.at).getTime() : isOpen(task) ? nowMs : undefined;
    return { status, at, ms: until === undefined ? undefined : Math.max(0, until - new Date(at).getTime()) };
  });
}

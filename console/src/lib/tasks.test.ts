import { expect, test } from 'vitest';
import { stays } from './tasks';
import type { Task } from './wire';

const at = (ms: number) => new Date(ms).toISOString();
const task = (status: string) => ({ status, events: [{ status: 'queued', at: at(1_000) }, { status: 'running', at: at(1_500) }] }) as Task;

test('a task stays in a status until the next one, or until now', () => {
  expect(stays(task('running'), 4_500).map(({ ms }) => ms)).toEqual([500, 3_000]);
  const ended = { ...task('completed'), events: [...task('completed').events, { status: 'completed', at: at(2_000) }] };
  expect(stays(ended, 9_000).map(({ ms }) => ms)).toEqual([500, 500, undefined]);
});

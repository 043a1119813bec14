import { expect, test } from 'vitest';
import { change } from './task-stream';

test('a task is followed line by line', () => {
  const lines = [
    { type: 'heartbeat' },
    { id: 'tsk_1', status: 3, status_text: 'dispatched', input: { prompt: 'hi' }, output: null, error: null },
    { data: { id: 'tsk_1', status: 7, status_text: 'running' }, fields: ['status', 'status_text'] },
    { event: 'delta', data: { seq: 1, delta: { response: 'He' } } },
    { event: 'delta', data: { seq: 2, delta: { response: 'llo' } } },
  ];
  const seen = lines.reduce<ReturnType<typeof change>>((known, line) => change(known, JSON.stringify(line)), undefined);
  expect(seen).toMatchObject({ status_text: 'running', input: { prompt: 'hi' }, output: { response: 'Hello' } });
  expect(change(seen, JSON.stringify({ id: 'tsk_1', status_text: 'failed', output: null, error: 'late' }))).toMatchObject({ status_text: 'failed', error: 'late' });
});

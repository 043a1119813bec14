import { expect, test } from 'vitest';
import { badLines, curve, loss, rate } from './curve';
import type { TrainEvent } from './wire';

const at = '2026-11-20T08:00:00.000Z';
const step = (number: number, value: number, heldOut?: number): TrainEvent => ({ at, sequence: number, kind: 'progress', step: number, of: 9, loss: value, held_out_loss: heldOut, learning_rate: 0.1 });

test('each step is one cell, and what was not looked at is none', () => {
  const found = curve([{ at, sequence: 1, kind: 'queued' }, step(1, 4), step(2, 3, 3.5), step(3, 2)]);
  expect(found.steps).toEqual([1, 2, 3]);
  expect(found.loss).toEqual([4, 3, 2]);
  expect(found.heldOut).toEqual([Number.NaN, 3.5, Number.NaN]);
});

test('a step that is told again counts once, as it was told last', () => {
  expect(curve([step(1, 4), step(2, 9), step(2, 3)]).loss).toEqual([4, 3]);
});

test('many steps are drawn in few cells', () => {
  const found = curve(Array.from({ length: 1_000 }, (_, number) => step(number + 1, number)), 100);
  expect([found.steps.length, found.steps[0], found.steps.at(-1), found.loss[0]]).toEqual([100, 10, 1_000, 4.5]);
  expect(curve([]).steps).toEqual([]);
});

test('losses and rates are told in few digits', () => {
  expect([loss(1.23456), rate(0.0002), rate(0), rate(0.1)]).toEqual(['1.2346', '2.00e-4', '0', '0.1']);
});

test('bad lines are told apart', () => {
  const told = badLines('The node attic says: What is to be learned can’t be used: line 2: messages is missing; line 6: messages[1].role is none of system, user; and 3 more. Correct these lines; docs/training.md says what a line contains.');
  expect(told.before).toBe('The node attic says: What is to be learned can’t be used:');
  expect(told.lines).toEqual(['line 2: messages is missing', 'line 6: messages[1].role is none of system, user; and 3 more']);
  expect(told.after).toBe('Correct these lines; docs/training.md says what a line contains.');
  expect(badLines('No.')).toEqual({ before: 'No.', lines: [], after: '' });
});

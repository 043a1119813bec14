// What happened in a training job as lines over its steps.

import { fixed } from './format';
import type { TrainEvent } from './wire';

export interface Curve {
  /** The last step of each cell. */
  steps: number[];
  /** Not a number where nothing was looked at. */
  loss: number[];
  heldOut: number[];
  rate: number[];
}

const CELLS_MAX = 400;

/** Of more steps than there is room for, each cell is the mean of its neighbours. */
export function curve(events: TrainEvent[], cellsMax = CELLS_MAX): Curve {
  // A job that was taken up again may tell a step twice: the later one counts.
  const told = new Map(events.filter((event) => event.kind === 'progress' && event.step !== undefined).map((event) => [event.step ?? 0, event]));
  const steps = [...told.keys()].sort((a, b) => a - b);
  const each = Math.max(1, Math.ceil(steps.length / cellsMax));
  const found: Curve = { steps: [], loss: [], heldOut: [], rate: [] };
  for (let from = 0; from < steps.length; from += each) {
    const cell = steps.slice(from, from + each).map((step) => told.get(step));
    found.steps.push(steps[Math.min(from + each, steps.length) - 1] ?? 0);
    found.loss.push(mean(cell.map((event) => event?.loss)));
    found.heldOut.push(mean(cell.map((event) => event?.held_out_loss)));
    found.rate.push(mean(cell.map((event) => event?.learning_rate)));
  }
  return found;
}

function mean(values: (number | null | undefined)[]): number {
  const known = values.filter((value): value is number => typeof value === 'number' && Number.isFinite(value));
  return known.length === 0 ? Number.NaN : known.reduce((sum, value) => sum + value, 0) / known.length;
}

/** A loss in four places; a rate in as few digits as tell it. */
export const loss = (value: number) => fixed(value, 4);
export const rate = (value: number) => (value === 0 ? '0' : value >= 0.01 ? String(Number(value.toPrecision(3))) : value.toExponential(2));

/** What a node says of lines that can't be used, one by one. */
export function badLines(message: string): { before: string; lines: string[]; after: string } {
  // What mends them stands behind the last.
  const at = message.lastIndexOf(' Correct these lines');
  const [before, ...rest] = (at < 0 ? message : message.slice(0, at)).split(/(?=line \d+: )/);
  const lines = rest.map((line) => line.trim().replace(/[;.]$/, ''));
  return { before: (before ?? '').trim(), lines, after: at < 0 ? '' : message.slice(at).trim() };
}

// Draws bars and lines on a canvas. Words around it are HTML, so that they can be read, zoomed and selected.

import { heightOf, stacked, type Axis } from './scale';
import type { Series } from './series';

export interface Picture {
  series: Series[];
  length: number;
  kind: 'bars' | 'lines';
  axis: Axis;
  /** The bucket under the cursor. */
  at?: number;
  /** The buckets being selected. */
  from?: number;
  to?: number;
}

/** Lines that lie on each other are all seen: each is wider than those above it, which have gaps. */
const DASHES: number[][] = [[], [6, 4], [2, 3], [8, 3, 2, 3]];
const WIDTHS = [1.75, 2, 3.5, 3.5];

export function paint(canvas: HTMLCanvasElement, picture: Picture): void {
  const context = canvas.getContext('2d');
  if (!context) return;
  const ratio = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const color = (name: string) => style.getPropertyValue(name).trim() || style.color;
  const y = (value: number) => height - heightOf(picture.axis, value) * (height - 1) - 0.5;

  context.lineWidth = 1;
  context.strokeStyle = color('--grid');
  for (const tick of picture.axis.ticks) {
    const line = Math.round(y(tick)) + (tick === (picture.axis.min ?? 0) ? -0.5 : 0.5);
    context.beginPath();
    context.moveTo(0, line);
    context.lineTo(width, line);
    context.stroke();
  }
  marked(context, picture, width, height, color);
  if (picture.kind === 'bars') bars(context, picture, width, y, color);
  else lines(context, picture, width, y, color);
}

type Color = (name: string) => string;

function marked(context: CanvasRenderingContext2D, picture: Picture, width: number, height: number, color: Color): void {
  const step = width / picture.length;
  const [from, to] = picture.from === undefined || picture.to === undefined ? [picture.at, picture.at] : [Math.min(picture.from, picture.to), Math.max(picture.from, picture.to)];
  if (from === undefined || to === undefined) return;
  context.fillStyle = color('--line');
  context.globalAlpha = picture.from === undefined ? 0.55 : 0.9;
  context.fillRect(from * step, 0, (to - from + 1) * step, height);
  context.globalAlpha = 1;
}

function bars(context: CanvasRenderingContext2D, { series, length }: Picture, width: number, y: (value: number) => number, color: Color): void {
  const step = width / length;
  const gap = step > 6 ? Math.min(3, step * 0.2) : step > 3 ? 1 : 0;
  const floors = stacked(series.map((one) => one.values), length);
  for (const [place, one] of series.entries()) {
    context.fillStyle = color(one.color);
    for (let at = 0; at < length; at += 1) {
      const value = one.values[at] ?? 0;
      if (value <= 0) continue;
      const base = floors[place]?.[at] ?? 0;
      const [top, bottom] = [y(base + value), y(base)];
      // Something is never drawn as nothing; pieces of a stack are told apart by a hair of background.
      const tall = Math.max(1, bottom - top - (base > 0 && bottom - top > 3 ? 1 : 0));
      context.fillRect(at * step + gap / 2, bottom - tall - (base > 0 && bottom - top > 3 ? 1 : 0), Math.max(1, step - gap), tall);
    }
  }
}

function lines(context: CanvasRenderingContext2D, { series, length, at }: Picture, width: number, y: (value: number) => number, color: Color): void {
  const step = width / length;
  for (const [place, one] of [...series.entries()].reverse()) {
    context.strokeStyle = color(one.color);
    context.fillStyle = color(one.color);
    context.lineWidth = WIDTHS[place % WIDTHS.length] ?? 1.75;
    context.lineJoin = 'round';
    context.setLineDash(DASHES[place % DASHES.length] ?? []);
    context.beginPath();
    let isDown = false;
    for (let bucket = 0; bucket < length; bucket += 1) {
      const value = one.values[bucket];
      if (value === undefined || !Number.isFinite(value)) {
        isDown &&= one.bridges === true;
        continue;
      }
      const x = (bucket + 0.5) * step;
      if (isDown) context.lineTo(x, y(value));
      else context.moveTo(x, y(value));
      isDown = true;
    }
    context.stroke();
    context.setLineDash([]);
    for (const bucket of pointsOf(one, at)) point(context, place, (bucket + 0.5) * step, y(one.values[bucket] ?? 0), bucket === at);
  }
}

/** The places of a line that are drawn as points: one without neighbours would be a line of no length, and the cursor's stands out. */
export function pointsOf({ values, bridges }: Series, cursor?: number): number[] {
  const isKnown = (at: number) => Number.isFinite(values[at]);
  const known = [...values.keys()].filter(isKnown);
  return known.filter((at) => at === cursor || (bridges ? known.length === 1 : !isKnown(at - 1) && !isKnown(at + 1)));
}

/** A dot, a square around it, a diamond around that: points of several lines at one place are all seen. */
function point(context: CanvasRenderingContext2D, place: number, x: number, y: number, isAt: boolean): void {
  const shape = place % 3;
  const size = 2.75 + shape * 1.5 + (isAt ? 1 : 0);
  context.lineWidth = 1.5;
  context.beginPath();
  if (shape === 0) context.arc(x, y, size, 0, Math.PI * 2);
  else if (shape === 1) context.rect(x - size, y - size, size * 2, size * 2);
  else {
    const reach = size * 1.35;
    context.moveTo(x, y - reach);
    for (const [right, down] of [[reach, 0], [0, reach], [-reach, 0]] as const) context.lineTo(x + right, y + down);
    context.closePath();
  }
  if (shape === 0) context.fill();
  else context.stroke();
}

// Draws bars and lines on a canvas. Words around it are HTML, so that they can be read, zoomed and selected.

import { stacked } from './scale';
import type { Series } from './series';

export interface Picture {
  series: Series[];
  length: number;
  kind: 'bars' | 'lines';
  max: number;
  ticks: number[];
  /** The bucket under the cursor. */
  at?: number;
  /** The buckets being selected. */
  from?: number;
  to?: number;
}

const DASHES: number[][] = [[], [5, 3], [2, 3], [8, 3, 2, 3]];

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
  const y = (value: number) => height - (value / picture.max) * (height - 1) - 0.5;

  context.lineWidth = 1;
  context.strokeStyle = color('--grid');
  for (const tick of picture.ticks) {
    const line = Math.round(y(tick)) + (tick === 0 ? -0.5 : 0.5);
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
  for (const [place, one] of series.entries()) {
    context.strokeStyle = color(one.color);
    context.fillStyle = color(one.color);
    context.lineWidth = 1.75;
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
    dots(context, one.values, step, y, at);
  }
}

/** A point without neighbours would be a line of no length; the one under the cursor stands out. */
function dots(context: CanvasRenderingContext2D, values: number[], step: number, y: (value: number) => number, cursor?: number): void {
  for (const [at, value] of values.entries()) {
    if (!Number.isFinite(value)) continue;
    const isAlone = !Number.isFinite(values[at - 1]) && !Number.isFinite(values[at + 1]);
    if (!isAlone && at !== cursor) continue;
    context.beginPath();
    context.arc((at + 0.5) * step, y(value), at === cursor ? 3.5 : 2.5, 0, Math.PI * 2);
    context.fill();
  }
}

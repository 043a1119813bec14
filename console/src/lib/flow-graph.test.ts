import { expect, test } from 'vitest';
import { DRAWN_MAX, HEIGHT, WIDTH, drawing } from './flow-graph';

const node = (id: string, depth: number, ...needs: string[]) => ({ id, kind: 'constant', depth, needs });

test('steps are drawn in layers, with a line to each that they need', () => {
  const { boxes, lines, width, height } = drawing([node('a', 0), node('b', 0), node('c', 1, 'a', 'b')]);
  expect(boxes[0]?.x).toBe(boxes[1]?.x);
  expect(boxes[1]?.y).toBeGreaterThanOrEqual(HEIGHT);
  expect(boxes[2]?.x).toBeGreaterThan(WIDTH);
  expect(lines.map((line) => line.key)).toEqual(['a c', 'b c']);
  expect(width).toBeGreaterThan(2 * WIDTH);
  expect(height).toBeGreaterThanOrEqual(2 * HEIGHT);
});

test('of a large flow only some are drawn, and of none nothing', () => {
  const many = Array.from({ length: 10_000 }, (_, place) => node(`s${place}`, place, ...(place ? [`s${place - 1}`] : [])));
  expect(drawing(many).boxes.length).toBe(DRAWN_MAX);
  expect(drawing([])).toEqual({ boxes: [], lines: [], width: 0, height: 0 });
});

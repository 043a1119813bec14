// Where the steps of a flow are drawn: in layers by their depth, each below the other, with lines to what they need.

import type { FlowNode } from './wire';

export interface Box<Node> {
  node: Node;
  x: number;
  y: number;
}

export interface Drawing<Node> {
  boxes: Box<Node>[];
  /** From what is needed to what needs it. */
  lines: { key: string; path: string }[];
  width: number;
  height: number;
}

export const WIDTH = 168;
export const HEIGHT = 52;
const GAP_X = 48;
const GAP_Y = 14;

/** Steps that are drawn; of a larger flow, the list below has the others. */
export const DRAWN_MAX = 400;

export function drawing<Node extends FlowNode>(nodes: Node[]): Drawing<Node> {
  const drawn = nodes.slice(0, DRAWN_MAX);
  const rows = new Map<number, number>();
  const boxes = drawn.map((node) => {
    const row = rows.get(node.depth) ?? 0;
    rows.set(node.depth, row + 1);
    return { node, x: node.depth * (WIDTH + GAP_X), y: row * (HEIGHT + GAP_Y) };
  });
  const places = new Map(boxes.map((box) => [box.node.id, box]));
  const lines = boxes.flatMap((box) =>
    box.node.needs.flatMap((need) => {
      const from = places.get(need);
      if (!from) return [];
      const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, box.x, box.y + HEIGHT / 2];
      const middle = (x1 + x2) / 2;
      return [{ key: `${need} ${box.node.id}`, path: `M${x1} ${y1} C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}` }];
    }),
  );
  const last = (of: (box: Box<Node>) => number): number => boxes.reduce((most, box) => Math.max(most, of(box)), 0);
  return { boxes, lines, width: last((box) => box.x + WIDTH), height: last((box) => box.y + HEIGHT) };
}

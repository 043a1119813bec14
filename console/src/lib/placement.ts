// Why a request went to this node and to no other: the time to the first token that was expected of each, in its parts.

import type { PlannedAttempt } from './wire';

export interface PlacedNode {
  name: string;
  id?: string;
  totalMs: number;
  parts: { name: string; ms: number }[];
  /** How much of the prompt it was sent before, in per cent. */
  cached: number;
  /** How much of its KV cache was in use, in per cent; nothing where it did not say. */
  kv?: number;
}

export interface Placing {
  nodes: PlacedNode[];
  /** Nodes beyond those that are told. */
  more: number;
}

/** The parts in the order in which they are drawn. */
export const PARTS = ['queue', 'prefill', 'pressure', 'adapter'] as const;

const NODE = /^(.+?): (\d+) ms \(queue (\d+), prefill (\d+), (\d+) % cached(?:, KV (\d+) %)?(?:, pressure (\d+))?(?:, adapter (\d+))?\)(?:; |$)/;
const MORE = /^and (\d+) more$/;

/** Reads the line that a record keeps; nothing where it says something else, so that the line itself is shown. */
export function readPlacement(line: string): Placing | undefined {
  const nodes: PlacedNode[] = [];
  let rest = line;
  while (rest !== '') {
    const more = MORE.exec(rest);
    if (more) return nodes.length > 0 ? { nodes, more: Number(more[1]) } : undefined;
    const found = NODE.exec(rest);
    if (!found) return undefined;
    const [whole, name = '', total, queue, prefill, cached, kv, pressure, adapter] = found;
    nodes.push({
      name,
      totalMs: Number(total),
      parts: parts({ queue: Number(queue), prefill: Number(prefill), pressure: Number(pressure ?? 0), adapter: Number(adapter ?? 0) }),
      cached: Number(cached),
      kv: kv === undefined ? undefined : Number(kv),
    });
    rest = rest.slice(whole.length);
  }
  return nodes.length > 0 ? { nodes, more: 0 } : undefined;
}

/** The same of a plan that was asked for; nothing where there were no nodes to choose from. */
export function planPlacement(attempts: PlannedAttempt[]): Placing | undefined {
  const nodes = attempts.flatMap((attempt): PlacedNode[] => {
    const placed = attempt.placement;
    if (!placed) return [];
    return [
      {
        name: attempt.display_name ?? attempt.principal,
        id: attempt.principal,
        totalMs: placed.expected_ms,
        parts: parts({ queue: placed.queue_ms, prefill: placed.prefill_ms, pressure: placed.pressure_ms, adapter: placed.adapter_ms }),
        cached: Math.floor(placed.cached_permille / 10),
        kv: placed.kv_permille === null ? undefined : Math.floor(placed.kv_permille / 10),
      },
    ];
  });
  return nodes.length > 1 ? { nodes, more: 0 } : undefined;
}

function parts(ms: Record<(typeof PARTS)[number], number>): PlacedNode['parts'] {
  return PARTS.map((name) => ({ name, ms: ms[name] })).filter((part) => part.ms > 0);
}

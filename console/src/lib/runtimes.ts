// Nodes that are runtimes of ours, told apart from servers of others by what a probe found.

import type { ComputeNode, NodeJoined } from './wire';

export function isRuntime(node: ComputeNode): boolean {
  return node.server.facts.some((fact) => fact.name === 'runtime' && fact.value === 'tidegate');
}

/** How large each model and adapter of a node that joined is, the largest first. */
export function sizes(joined: NodeJoined | null | undefined): [string, number][] {
  return Object.entries(joined?.said?.model_bytes ?? {}).sort(([, one], [, other]) => other - one);
}

// Nodes that are runtimes of ours, told apart from servers of others by what a probe found.

import type { ComputeNode } from './wire';

export function isRuntime(node: ComputeNode): boolean {
  return node.server.facts.some((fact) => fact.name === 'runtime' && fact.value === 'tidegate');
}

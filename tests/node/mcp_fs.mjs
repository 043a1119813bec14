// Lets the conformance suite's program start on Node 20, which has no `fs.globSync`: the program imports it by name, for a command
// that is not used here.

import { register } from "node:module";

const shim = `export * from "node:fs"; export { default } from "node:fs"; export const globSync = () => [];`;
const address = `data:text/javascript,${encodeURIComponent(shim)}`;
const hook = `export async function resolve(name, context, next) {
  const isIts = name === "fs" && context.parentURL?.includes("/@modelcontextprotocol/conformance/");
  return isIts ? { url: ${JSON.stringify(address)}, shortCircuit: true } : next(name, context);
}`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

// Calls everything that inference.sh's own Node client has, unmodified, and prints what came of each call.
//
// usage: node management.mjs BASE_URL KEY KNOWN
// KNOWN is a JSON object: the arguments of calls that need particular ones, by name, and of each API its usual id under `ids`.
// Prints one JSON object for each call: {"call": …, "status": …, "text": …}; the status of one that worked is 200.

import { register } from "node:module";

// The package names its own files without their extension, which bundlers complete and Node does not.
const complete = `export async function resolve(name, context, next) {
  const isIts = name.startsWith(".") && context.parentURL?.includes("/@inferencesh/sdk/") && !name.endsWith(".js");
  if (!isIts) return next(name, context);
  return next(name + ".js", context).catch(() => next(name + "/index.js", context));
}`;
register(`data:text/javascript,${encodeURIComponent(complete)}`);
const { inference } = await import("@inferencesh/sdk");

const [baseURL, apiKey, known] = process.argv.slice(2);
const { ids, calls } = JSON.parse(known);
const client = inference({ apiKey, baseUrl: baseURL.replace(/\/v1$/, "") });

const names = (api) => {
  const own = Object.getOwnPropertyNames(Object.getPrototypeOf(api)).filter((name) => name !== "constructor");
  // Calls that remove something come last, since others need it.
  const removes = (name) => /^(delete|remove|revoke|end|disconnect)/.test(name);
  return own.sort((a, b) => removes(a) - removes(b) || a.localeCompare(b));
};

for (const [name, api] of Object.entries(client).sort(([a], [b]) => a.localeCompare(b))) {
  if (name === "http" || typeof api !== "object" || api === null) continue;
  for (const method of names(api)) {
    const call = `${name}.${method}`;
    const wanted = calls[call] === undefined ? [ids[name] ?? "x", {}, {}].slice(0, api[method].length) : calls[call];
    // Those that open sockets and streams, or wait for the end of something, have cases of their own.
    if (wanted === null) continue;
    const sent = call.endsWith(".list") && calls[call] === undefined ? [{ limit: 10 }] : wanted;
    let outcome = { call, status: 200, text: "" };
    try {
      await api[method](...sent);
    } catch (error) {
      outcome = { call, status: error.statusCode ?? error.status ?? 0, text: String(error.message) };
    }
    console.log(JSON.stringify(outcome));
  }
}

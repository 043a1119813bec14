// Calls everything that inference.sh's own Node client has, unmodified, and prints what came of each call.
//
// usage: node management.mjs BASE_URL KEY KNOWN
// KNOWN is a JSON object: the arguments of calls that need particular ones, by name, and of each API its usual id under `ids`.
// Prints one JSON object for each call: {"call": …, "status": …, "text": …}; the status of one that worked is 200, and 0 where the
// result doesn't have the shape that the package's own types state.

import { readdirSync, readFileSync } from "node:fs";
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

// The type of each call's result, by the class that the package declares it in.
const folder = new URL("api/", import.meta.resolve("@inferencesh/sdk"));
const files = readdirSync(folder).filter((name) => name.endsWith(".d.ts"));
const classes = files.flatMap((name) => readFileSync(new URL(name, folder), "utf8").split("export declare class ").slice(1));
const results = /^ {4}(\w+)\([\s\S]*?\): Promise<([\s\S]*?)>;$/gm;
const types = new Map(classes.map((text) => [text.match(/^\w+/)[0], new Map([...text.matchAll(results)].map((found) => found.slice(1)))]));

// The type and the result that doesn't have it, or null.
const misshapen = (type, result) => {
  const wrapped = type?.match(/^Response<([\s\S]*)>$/)?.[1];
  const [kind, value] = wrapped === undefined ? [type, result] : [wrapped, result?.data];
  if (kind === undefined || /^(void|unknown)$|EventSource/.test(kind)) return null;
  const isObject = (one) => typeof one === "object" && one !== null && !Array.isArray(one);
  const items = kind.endsWith("[]") ? value : kind.startsWith("CursorListResponse<") ? value?.items : [value];
  return Array.isArray(items) && items.every(isObject) ? null : `${kind} is ${JSON.stringify(value)}`;
};

for (const [name, api] of Object.entries(client).sort(([a], [b]) => a.localeCompare(b))) {
  if (name === "http" || typeof api !== "object" || api === null) continue;
  const stated = types.get(api.constructor.name);
  for (const method of names(api)) {
    const call = `${name}.${method}`;
    const wanted = calls[call] === undefined ? [ids[name] ?? "x", {}, {}].slice(0, api[method].length) : calls[call];
    // Those that open sockets and streams, or wait for the end of something, have cases of their own.
    if (wanted === null) continue;
    const sent = call.endsWith(".list") && calls[call] === undefined ? [{ limit: 10 }] : wanted;
    let outcome = { call, status: 200, text: "" };
    try {
      const wrong = misshapen(stated.get(method), await api[method](...sent));
      if (wrong !== null) outcome = { call, status: 0, text: wrong };
    } catch (error) {
      outcome = { call, status: error.statusCode ?? error.status ?? 0, text: String(error.message) };
    }
    console.log(JSON.stringify(outcome));
  }
}

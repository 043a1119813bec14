// Drives a gateway's apps with inference.sh's own Node client, unmodified.
//
// usage: node apps.mjs BASE_URL KEY READ_ONLY_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { register } from "node:module";

// The package names its own files without their extension, which bundlers complete and Node does not.
const complete = `export async function resolve(name, context, next) {
  const isIts = name.startsWith(".") && context.parentURL?.includes("/@inferencesh/sdk/") && !name.endsWith(".js");
  if (!isIts) return next(name, context);
  return next(name + ".js", context).catch(() => next(name + "/index.js", context));
}`;
register(`data:text/javascript,${encodeURIComponent(complete)}`);
const { inference } = await import("@inferencesh/sdk");

const [baseURL, apiKey] = process.argv.slice(2);
const data = (answer) => answer.data ?? answer;

for (const [place, baseUrl] of [["v1", baseURL], ["root", baseURL.replace(/\/v1$/, "")]]) {
  const client = inference({ apiKey, baseUrl });
  const page = data(await client.apps.list({ limit: 2 }));
  assert.equal(page.items.length, 2);
  assert.equal(page.has_next, true);
  const next = data(await client.apps.list({ limit: 2, cursor: page.next_cursor }));
  assert.ok(next.items[0].id > page.items[1].id);
  console.log("ok", `list_${place}`);
  const app = data(await client.apps.getByName("openai/gpt-4o-mini-tts"));
  assert.equal(app.namespace, "openai");
  assert.deepEqual(app.version.input_schema.required, ["text", "voice"]);
  console.log("ok", `get_${place}`);
  const task = data(await client.run({ app: app.id, input: { text: "high tide", voice: "alloy" } }));
  const { uri } = task.output.audio;
  assert.match(uri, /\/files\/fil_[0-9a-f]+\/content$/);
  const sound = await fetch(uri, { headers: { authorization: `Bearer ${apiKey}` } });
  // What the emulator makes isn't a sound, and the store says what a file is.
  assert.deepEqual([sound.status, sound.headers.get("content-type")], [200, "application/octet-stream"]);
  assert.ok((await sound.arrayBuffer()).byteLength > 0);
  console.log("ok", `run_${place}`);
}

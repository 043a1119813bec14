// Drives a gateway with inference.sh's own Node client, unmodified: uploads, lists, and runs that read them.
//
// usage: node uploads.mjs BASE_URL KEY READ_ONLY_KEY
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
const text = "Revenue rose by 4 %, costs fell.";

for (const [place, baseUrl] of [["v1", baseURL], ["root", baseURL.replace(/\/v1$/, "")]]) {
  const client = inference({ apiKey, baseUrl });
  const blob = new Blob([text], { type: "text/plain" });
  const file = await client.files.upload(blob, { filename: "report.txt" });
  assert.equal(file.filename, "report.txt");
  assert.equal(file.size, text.length);
  console.log("ok", `upload_${place}`);
  const read = await fetch(file.uri, { headers: { Authorization: `Bearer ${apiKey}` } });
  assert.equal(await read.text(), text);
  console.log("ok", `read_${place}`);
  // The client uploads blobs of an input itself.
  const task = await client.run({ app: "openai/gpt-4o-mini", input: { prompt: "Summarize", document: blob } });
  assert.match(task.output.response, /Revenue rose/);
  console.log("ok", `run_${place}`);
  const uri = await client.files.upload(`data:text/plain;base64,${btoa(text)}`);
  assert.equal((await client.files.get(uri.id)).data.size, text.length);
  console.log("ok", `data_${place}`);
  const first = (await client.files.list({ limit: 1 })).data;
  assert.equal(first.items[0].id, uri.id);
  assert.ok(first.has_next);
  const second = (await client.files.list({ limit: 1, cursor: first.next_cursor })).data;
  assert.notEqual(second.items[0].id, uri.id);
  assert.ok((await client.files.list()).data.items.length >= 3);
  console.log("ok", `list_${place}`);
  await client.files.delete(uri.id);
  await assert.rejects(client.files.get(uri.id), /404|no file/i);
  console.log("ok", `delete_${place}`);
}

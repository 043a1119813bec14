// Drives a gateway with inference.sh's own Node client, unmodified: its default call and what belongs to it.
//
// usage: node tasks.mjs BASE_URL KEY READ_ONLY_KEY
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
const app = { app: "openai/gpt-4o-mini", input: { prompt: "hello there" } };

function check(name, task) {
  assert.equal(task.status, 10);
  assert.equal(task.output.response, "You said: hello there");
  console.log("ok", name);
}

for (const [place, baseUrl] of [["v1", baseURL], ["root", baseURL.replace(/\/v1$/, "")]]) {
  const client = inference({ apiKey, baseUrl });
  check(`run_${place}`, await client.run(app));
  const updates = [];
  check(`update_${place}`, await client.run(app, { onUpdate: (task) => updates.push(task.status) }));
  assert.equal(updates.at(-1), 10);
  check(`poll_${place}`, await client.run(app, { stream: false, pollIntervalMs: 10 }));
  const task = await client.run({ ...app, session: "new" }, { wait: false });
  assert.equal(task.status, 2);
  console.log("ok", `no_wait_${place}`);
  check(`watch_${place}`, await client.tasks.watch(task, {}).done);
  check(`get_${place}`, (await client.tasks.get(task.id)).data);
  const page = await client.tasks.list({ cursor: "", limit: 2, direction: "forward", filters: [] });
  assert.equal((page.data ?? page).items[0].id, task.id);
  console.log("ok", `list_${place}`);
  const logs = await client.tasks.getLogs(task.id);
  assert.equal((logs.data ?? logs).status, 10);
  const timings = await client.tasks.getTimings(task.id);
  assert.equal((timings.data ?? timings).groups.length, 2);
  console.log("ok", `logs_${place}`);
  await client.tasks.delete(task.id);
  await assert.rejects(client.tasks.get(task.id), /404|no task/i);
  console.log("ok", `delete_${place}`);
}

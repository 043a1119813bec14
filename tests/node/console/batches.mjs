// Batches in the console: how far each is, while it goes on, and its end by hand.
//
// usage: node batches.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { eventually, inBrowser, ok, pictures, signIn, v2, violationsInThemes, visit } from "./browser.mjs";
import { sendJson, serve } from "./servers.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);
/** More than are sent at the same time. */
const MANY = 2_000;

/** Requests that the server holds without an answer, so that the batch advances only as the journey lets it. */
const asked = [];
let isOpen = false;
const ANSWER = { id: "c", object: "chat.completion", created: 1, model: "held", choices: [{ index: 0, message: { role: "assistant", content: "Here." }, finish_reason: "stop" }], usage: { prompt_tokens: 3, completion_tokens: 1, total_tokens: 4 } };

function holding(request, response) {
  if (request.method === "GET") sendJson(response, 200, { object: "list", data: [{ id: "held", object: "model" }] });
  else if (isOpen) sendJson(response, 200, ANSWER);
  else asked.push(() => sendJson(response, 200, ANSWER));
}

function letGo() {
  for (const answer of asked.splice(0)) answer();
}

async function make(number, model) {
  const message = (at) => ({ role: "user", content: `ask ${at}` });
  const requests = Array.from({ length: number }, (_, at) => ({ custom_id: `a${at}`, params: { model, max_tokens: 16, messages: [message(at)] } }));
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
  const made = await fetch(`${origin}/v1/messages/batches`, { method: "POST", headers, body: JSON.stringify({ requests }) });
  assert.equal(made.status, 200, await made.clone().text());
  return (await made.json()).id;
}

const shown = async (id) => v2(origin, adminKey, `batches/${id}`);

const server = await serve(holding);
await send("POST", "byoc/nodes", { name: "held", base_url: `${server.base}/v1`, models: ["held"] });
await inBrowser(origin, async (open) => {
  const page = await open();
  await visit(page, `${origin}/sign-in`);
  await signIn(page, origin, adminKey);
  const small = await make(3, "echo");
  await eventually(async () => assert.equal((await shown(small)).status, "completed"));
  const large = await make(MANY, "held");
  await visit(page, `${origin}/batches`);
  const bars = page.getByRole("progressbar");
  await eventually(async () => assert.equal(await bars.count(), 2));
  assert.match(await bars.nth(1).getAttribute("aria-valuetext"), /^3 of 3: 3 succeeded$/);
  const done = async () => Number(await bars.first().getAttribute("aria-valuenow"));
  const first = await done();
  await eventually(async () => assert.ok(asked.length > 1));
  letGo();
  await eventually(async () => assert.ok((await done()) > first, "the page is read again while it is seen"));
  await pictures(page, "batches");
  await page.setViewportSize({ width: 390, height: 844 });
  await pictures(page, "batches-390");
  assert.deepEqual(await violationsInThemes(page), []);
  await page.setViewportSize({ width: 1280, height: 860 });
  ok("progress_is_live");
  await page.getByRole("button", { name: /^Cancel / }).click();
  await page.getByRole("cell", { name: "cancelling", exact: true }).waitFor();
  // What is under way is finished, and nothing more is begun.
  isOpen = true;
  letGo();
  await page.getByRole("cell", { name: "cancelled", exact: true }).waitFor();
  const { requests, status } = await shown(large);
  assert.equal(status, "cancelled");
  assert.ok(requests.cancelled > 0 && requests.succeeded > 0 && requests.succeeded + requests.cancelled === MANY, JSON.stringify(requests));
  await eventually(async () => assert.match(await bars.first().getAttribute("aria-valuetext"), /cancelled$/));
  assert.equal(await page.getByRole("button", { name: /^Cancel / }).count(), 0);
  await pictures(page, "batches-cancelled");
  ok("what_has_not_begun_is_cancelled");
});
server.close();

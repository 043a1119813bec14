// Tasks in the console: where each is, while it goes on, its whole log and what it makes, and its end by hand.
//
// usage: node tasks.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { eventually, inBrowser, ok, pictures, signIn, v2, violationsInThemes, visit } from "./browser.mjs";
import { sendJson, serve } from "./servers.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);

async function make(more) {
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
  const body = JSON.stringify({ app: "echo", input: { prompt: "hello there" }, ...more });
  const made = await fetch(`${origin}/apps/run`, { method: "POST", headers, body });
  assert.equal(made.status, 200, await made.clone().text());
  return (await made.json()).data.id;
}

/** A runtime whose answer stops half way until it is released, and an app's server that fails at first. */
let release;
const released = new Promise((resume) => (release = resume));
let tries = 0;
const server = await serve(async (request, response) => {
  if (request.url === "/ledger") {
    tries += 1;
    return sendJson(response, tries < 3 ? 503 : 200, { total: 42 });
  }
  if (!request.url.endsWith("/chat/completions")) return sendJson(response, 200, { object: "list", data: [{ id: "slow", object: "model" }] });
  response.setHeader("content-type", "text/event-stream");
  const say = (delta, finish_reason = null) => response.write(`data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", created: 1, model: "slow", choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
  say({ role: "assistant", content: "The tide " });
  await released;
  say({ content: "turns." });
  say({}, "stop");
  response.end(`data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", created: 1, model: "slow", choices: [], usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 } })}\n\ndata: [DONE]\n\n`);
});

async function declare(path, body) {
  const headers = { authorization: `Bearer ${adminKey}`, "content-type": "application/json" };
  const answer = await fetch(`${origin}/v2/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  assert.ok(answer.ok, await answer.clone().text());
}

async function followWhole(page) {
  await declare("byoc/nodes", { name: "slow", base_url: `${server.base}/v1`, models: ["slow"] });
  const id = await make({ app: "slow" });
  await visit(page, `${origin}/runs`);
  await page.locator(`a[href="/runs/${id}"]`).first().click();
  const result = page.getByRole("region", { name: "Result" });
  // What has come so far, while the rest is still made.
  await result.getByText("The tide", { exact: true }).waitFor();
  await page.getByRole("status").getByText("running").waitFor();
  assert.equal(await result.getByRole("button", { name: "Download" }).count(), 0);
  await pictures(page, "task-running");
  release();
  await result.getByText("The tide turns.").waitFor();
  await page.getByRole("status").getByText("completed").waitFor();
  const saving = page.waitForEvent("download");
  await result.getByRole("button", { name: "Download" }).click();
  const saved = await saving;
  assert.equal(saved.suggestedFilename(), `tidegate-${id}.json`);
  assert.equal(JSON.parse(await readFile(await saved.path(), "utf8")).response, "The tide turns.");
  const events = page.getByRole("table", { name: "Events" });
  for (const status of (await shown(id)).events.map((event) => event.status)) assert.ok((await events.getByRole("rowheader", { name: status, exact: true }).count()) > 0, status);
  ok("a_result_is_followed_and_saved");
}

async function readLog(page) {
  await declare("apps", { name: "acme/ledger", url: `${server.base}/ledger` });
  const id = await make({ app: "acme/ledger", input: {} });
  await visit(page, `${origin}/runs/${id}`);
  const log = page.getByRole("log", { name: "Log" });
  await log.getByText(/^try 2 failed: app_failed/).waitFor();
  await page.getByRole("status").getByText("completed").waitFor();
  const lines = (await shown(id)).logs;
  assert.ok(lines.length > 1);
  await eventually(async () => assert.deepEqual(await log.locator("span").allInnerTexts(), lines.map((line) => line.text)));
  await page.getByRole("searchbox", { name: "Find in the log" }).fill("TRY 2");
  await page.getByText(`1 of ${lines.length} lines`).waitFor();
  assert.equal(await log.locator("p").count(), 1);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy", exact: true }).click();
  const second = lines.find((line) => line.text.startsWith("try 2"));
  await eventually(async () => assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${second.at} ${second.text}`));
  await page.getByRole("searchbox", { name: "Find in the log" }).fill("nothing like it");
  await page.getByText("No matching lines.").waitFor();
  await page.getByRole("searchbox", { name: "Find in the log" }).fill("");
  await pictures(page, "task");
  assert.deepEqual(await violationsInThemes(page), []);
  await page.setViewportSize({ width: 390, height: 844 });
  await pictures(page, "task-390");
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `the page is ${width} px wide`);
  await page.setViewportSize({ width: 1280, height: 860 });
  ok("a_log_is_found_in_and_copied");
}

const shown = async (id) => v2(origin, adminKey, `tasks/${id}`);

async function walk(open) {
  const page = await open();
  await visit(page, `${origin}/sign-in`);
  await signIn(page, origin, adminKey);
  await visit(page, `${origin}/runs`);
  await page.getByText("No tasks yet").waitFor();
  const done = await make({});
  await page.getByRole("cell", { name: "completed", exact: true }).waitFor();
  assert.equal((await shown(done)).status, "completed");
  const waits = await make({ run_at: new Date(Date.now() + 86_400_000).toISOString() });
  await page.getByRole("cell", { name: "queued", exact: true }).waitFor();
  await pictures(page, "tasks");
  await page.setViewportSize({ width: 390, height: 844 });
  await pictures(page, "tasks-390");
  assert.deepEqual(await violationsInThemes(page), []);
  await page.setViewportSize({ width: 1280, height: 860 });
  ok("tasks_are_followed");
  await page.getByRole("button", { name: /^Cancel / }).click();
  await page.getByRole("cell", { name: "cancelled", exact: true }).waitFor();
  await eventually(async () => assert.equal((await shown(waits)).status, "cancelled"));
  assert.equal(await page.getByRole("button", { name: /^Cancel / }).count(), 0);
  ok("one_that_waits_is_cancelled");
  await followWhole(page);
  await readLog(page);
}

try {
  await inBrowser(origin, walk);
} finally {
  server.close();
}

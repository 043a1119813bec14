// Tasks in the console: where each is, while it goes on, and its end by hand.
//
// usage: node tasks.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { eventually, inBrowser, ok, pictures, signIn, v2, violationsInBothThemes, visit } from "./browser.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);

async function make(more) {
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
  const body = JSON.stringify({ app: "echo", input: { prompt: "hello there" }, ...more });
  const made = await fetch(`${origin}/apps/run`, { method: "POST", headers, body });
  assert.equal(made.status, 200, await made.clone().text());
  return (await made.json()).data.id;
}

const shown = async (id) => v2(origin, adminKey, `tasks/${id}`);

await inBrowser(origin, async (open) => {
  const page = await open();
  await visit(page, `${origin}/sign-in`);
  await signIn(page, origin, adminKey);
  await visit(page, `${origin}/runs`);
  await page.getByText("No task yet").waitFor();
  const done = await make({});
  await page.getByRole("cell", { name: "completed", exact: true }).waitFor();
  assert.equal((await shown(done)).status, "completed");
  const waits = await make({ run_at: new Date(Date.now() + 86_400_000).toISOString() });
  await page.getByRole("cell", { name: "queued", exact: true }).waitFor();
  await pictures(page, "tasks");
  await page.setViewportSize({ width: 390, height: 844 });
  await pictures(page, "tasks-390");
  assert.deepEqual(await violationsInBothThemes(page), []);
  await page.setViewportSize({ width: 1280, height: 860 });
  ok("tasks_are_followed");
  await page.getByRole("button", { name: /^Cancel / }).click();
  await page.getByRole("cell", { name: "cancelled", exact: true }).waitFor();
  await eventually(async () => assert.equal((await shown(waits)).status, "cancelled"));
  assert.equal(await page.getByRole("button", { name: /^Cancel / }).count(), 0);
  ok("one_that_waits_is_cancelled");
});

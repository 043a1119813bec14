// What is looked at is in the address: each choice changes it, a link to it shows the same to the next person, and back goes back.
//
// usage: node address.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { chat, eventually, inBrowser, ok, signIn, v2, visit } from "./browser.mjs";
import { populate } from "./traffic.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);

const query = (page) => new URL(page.url()).searchParams;
const wanted = (page, name, value) => page.waitForURL((url) => url.searchParams.get(name) === value);
const listed = (page, rows) => page.waitForFunction((count) => document.querySelectorAll('[role="row"][data-at]').length === count, rows);

/** The address in a tab of its own shows what this one shows. */
async function sameElsewhere(page, read) {
  const other = await page.context().newPage();
  // A key is of one tab; the next person signs in themselves.
  await other.goto(`${origin}/sign-in?with=key`);
  await other.getByLabel("API key").fill(adminKey);
  await other.keyboard.press("Enter");
  await other.getByRole("heading", { level: 1, name: "Home" }).waitFor();
  await visit(other, page.url());
  await eventually(async () => assert.deepEqual(await read(other), await read(page), page.url()));
  await other.close();
}

async function usageIsInTheAddress(page) {
  await visit(page, `${origin}/usage`);
  await page.locator("label", { hasText: /^Show/ }).locator("select").selectOption("requests");
  await wanted(page, "metric", "requests");
  await page.locator("label", { hasText: /^by/ }).locator("select").selectOption("outcome");
  await wanted(page, "group", "outcome");
  await page.getByRole("button", { name: "Cumulative" }).click();
  await wanted(page, "sum", "running");
  await page.getByRole("combobox", { name: "Filter" }).fill("model:echo");
  await page.keyboard.press("Enter");
  await wanted(page, "filter", "model:echo");
  await page.getByRole("button", { name: /Time range/ }).click();
  await page.getByRole("link", { name: "Last 7 days" }).click();
  await wanted(page, "range", "7d");
  await page.getByRole("heading", { name: "Requests by outcome" }).waitFor();
  await page.waitForFunction(() => document.querySelector(".loaded.old") === null);
  await sameElsewhere(page, (one) => one.locator("tbody").first().innerText());
  for (const name of ["range", "filter", "sum", "group", "metric"]) {
    assert.ok(query(page).has(name), name);
    await page.goBack();
    await eventually(() => assert.ok(!query(page).has(name), `back takes ${name} away`));
  }
  ok("usage_is_in_the_address");
}

async function requestsAreInTheAddress(page) {
  await visit(page, `${origin}/requests`);
  const { data } = await v2(origin, adminKey, "requests?limit=100");
  await listed(page, data.length);
  await page.getByRole("button", { name: "Live" }).click();
  await wanted(page, "live", "off");
  // What comes while it is paused isn't shown, also after a reload, until it is live again.
  await chat(origin, apiKey, { model: "echo" });
  await page.waitForTimeout(2_500);
  await listed(page, data.length);
  await page.getByRole("button", { name: "Paused" }).click();
  await wanted(page, "live", null);
  await listed(page, data.length + 1);
  // A stretch of the plot becomes the span.
  const plot = page.getByRole("slider", { name: /Requests over time/ });
  await plot.focus();
  await page.keyboard.press("End");
  // Time goes on: the last piece of it may be one in which nothing was asked yet.
  if ((await plot.getAttribute("aria-valuetext")).endsWith(": nothing")) await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.searchParams.has("from") && url.searchParams.has("to"));
  const served = (await v2(origin, adminKey, "requests?limit=100")).data.filter((row) => row.started_at >= query(page).get("from")).length;
  await page.getByText(/shown, the whole time range/).waitFor();
  assert.ok(served > 0);
  await sameElsewhere(page, (one) => one.locator('[role="row"][data-at]').count());
  await page.goBack();
  await eventually(() => assert.ok(!query(page).has("from")));
  // Two moments by hand, the wrong way round first.
  await page.getByRole("button", { name: /Time range/ }).click();
  await page.getByLabel("From").fill("2026-01-02T00:00");
  await page.getByLabel("To", { exact: true }).fill("2026-01-01T00:00");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.getByText("The start must come before the end.").waitFor();
  await page.getByLabel("To", { exact: true }).fill("2026-01-03T00:00");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.getByText("No requests match in this time range.").waitFor();
  assert.ok(await page.getByRole("button", { name: "Past", exact: true }).isDisabled(), "nothing new comes into what is past");
  ok("requests_are_in_the_address");
}

async function questionsAreInTheAddress(page) {
  await visit(page, `${origin}/routes`);
  await page.getByLabel("Model", { exact: true }).fill("echo");
  await wanted(page, "model", "echo");
  await page.getByLabel("Environment", { exact: true }).fill("staging");
  await wanted(page, "environment", "staging");
  await page.getByLabel("Tag", { exact: true }).fill("nightly");
  await wanted(page, "tag", "nightly");
  await page.getByText("first choice").waitFor();
  await sameElsewhere(page, (one) => one.getByRole("region", { name: "What would serve it?" }).innerText());
  await visit(page, `${origin}/connect`);
  await page.getByRole("link", { name: "OpenAI SDK, Python" }).click();
  await wanted(page, "tool", "python");
  await eventually(async () => assert.ok((await page.getByLabel(/the snippet for/).first().innerText()).includes(`base_url="${origin}/v1"`)));
  await visit(page, `${origin}/audit`);
  await page.getByLabel("Find in the audit").fill("key.create");
  await wanted(page, "find", "key.create");
  await sameElsewhere(page, (one) => one.locator("tbody tr").count());
  // The server searches all of the audit, so that what is found is the same on the wire.
  await page.getByLabel("Action", { exact: true }).fill("api_key.create");
  await page.keyboard.press("Enter");
  await wanted(page, "action", "api_key.create");
  await page.getByLabel("From", { exact: true }).fill("2020-01-01");
  await wanted(page, "start", "2020-01-01");
  const created = (await v2(origin, adminKey, "audit?limit=100&q=key.create&action=api_key.create")).data;
  await page.getByRole("status").getByText(created.length === 1 ? "1 entry matches." : `${created.length} entries match.`).waitFor();
  assert.equal(await page.locator("tbody tr").count(), created.length);
  await page.getByLabel("Actor", { exact: true }).selectOption("system");
  await wanted(page, "actor", "system");
  await page.getByRole("link", { name: "Clear the search" }).click();
  await page.waitForURL((url) => !["find", "action", "start", "actor"].some((name) => url.searchParams.has(name)));
  await visit(page, `${origin}/keys`);
  await page.getByRole("button", { name: "Show revoked" }).click();
  await wanted(page, "show", "all");
  await visit(page, `${origin}/playground`);
  await page.getByLabel("Model", { exact: true }).fill("openai/gpt-4o-mini");
  await page.keyboard.press("Enter");
  await wanted(page, "model", "openai/gpt-4o-mini");
  ok("questions_are_in_the_address");
}

/** Where one was in a long list is where one comes back to; the span goes along to the next page. */
async function placesAreKept(page) {
  const { data } = await v2(origin, adminKey, "requests?limit=100");
  for (let sent = 0; sent < 40; sent += 1) await chat(origin, apiKey, { model: "echo" });
  await page.setViewportSize({ width: 1280, height: 500 });
  await visit(page, `${origin}/requests?range=1h`);
  // All of them: those that settle late would push the others down, and a short list can't be scrolled so far.
  await page.getByText(`${data.length + 40} shown, the whole time range`).waitFor();
  await page.evaluate(() => scrollTo(0, 700));
  await page.waitForFunction(() => scrollY > 600);
  const left = await page.evaluate(() => scrollY);
  // Not by the pointer, which would scroll to it first.
  await page.locator('[role="row"][data-at="20"] .time a').evaluate((row) => row.click());
  const followed = await page.evaluate(() => location.pathname);
  await page.getByRole("heading", { level: 1, name: "echo" }).waitFor();
  assert.equal(query(page).get("range"), "1h", "the span goes along");
  await page.goBack();
  await page.getByRole("heading", { level: 1, name: "Requests" }).waitFor();
  await page.waitForFunction((wantedTop) => Math.abs(scrollY - wantedTop) < 40, left);
  await page.waitForFunction((wanted) => document.activeElement?.getAttribute("href")?.startsWith(wanted), followed);
  ok("places_are_kept");
}

await populate();
await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  await usageIsInTheAddress(page);
  await requestsAreInTheAddress(page);
  await questionsAreInTheAddress(page);
  await placesAreKept(page);
});

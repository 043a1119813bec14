// The main path of the console with the keyboard alone: sign in, the first request arriving live, why it went as it
// did, and sums that are the server's own.
//
// usage: node main-path.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { chat, eventually, inBrowser, ok, v2, visit } from "./browser.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);
const FIRST_PAGE_BYTES_MAX = 150 * 1024;
/** The pages that people open first and most. */
const MAIN_PAGES = ["/", "/requests", "/usage", "/models", "/playground", "/keys", "/nodes"];
/** How long the largest paint of a page may take: `TIDEGATE_LARGEST_PAINT_MS=500`, with a release on a quiet machine. Without it nothing is
 *  measured, since `make test` shares the machine and its build isn't optimised. */
const { TIDEGATE_LARGEST_PAINT_MS } = process.env;
/** How often each page is loaded to measure it. */
const LOADS = 20;

async function served() {
  const page = await fetch(`${origin}/`, { headers: { accept: "text/html", "accept-encoding": "gzip" } });
  const policy = page.headers.get("content-security-policy") ?? "";
  assert.match(policy, /^default-src 'none';/);
  assert.match(policy, /require-trusted-types-for 'script'/);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval/);
  assert.equal(page.headers.get("x-frame-options"), "DENY");
  assert.equal(page.headers.get("referrer-policy"), "no-referrer");
  assert.equal(page.headers.get("x-content-type-options"), "nosniff");
  assert.equal(page.headers.get("cache-control"), "no-cache");
  const html = await page.text();
  const script = /src="(\/assets\/[^"]+\.js)"/.exec(html)?.[1];
  const asset = await fetch(origin + script);
  assert.match(asset.headers.get("cache-control") ?? "", /immutable/);
  assert.ok(asset.headers.get("content-encoding"), "assets come compressed");
  const again = await fetch(`${origin}/`, { headers: { accept: "text/html", "if-none-match": page.headers.get("etag") } });
  assert.equal(again.status, 304);
  const plain = await fetch(`${origin}/`, { headers: { accept: "*/*" } });
  assert.match(plain.headers.get("content-type") ?? "", /text\/plain/);
  assert.equal((await fetch(`${origin}/usage`)).status, 404, "pages are for browsers");
  assert.equal((await fetch(`${origin}/assets/none.js`)).status, 404);
  for (const path of ["/docs", "/docs/"]) assert.equal((await fetch(origin + path)).status, 200, path);
  ok("served");
}

async function firstPageIsSmall(page) {
  const loaded = await page.evaluate(() => performance.getEntriesByType("resource").map((entry) => entry.name));
  const files = [`${origin}/`, ...new Set(loaded.filter((name) => /\.(js|css|svg)$/.test(name)))];
  let bytes = 0;
  for (const file of files) {
    const answer = await fetch(file, { headers: { accept: "text/html,*/*", "accept-encoding": "identity" } });
    bytes += gzipSync(Buffer.from(await answer.arrayBuffer()), { level: 9 }).length;
  }
  assert.ok(bytes <= FIRST_PAGE_BYTES_MAX, `the first page is ${bytes} bytes`);
  console.error(`first page: ${bytes} bytes gzip in ${files.length} files`);
  ok("first_page_is_small");
}

async function signInByKeyboard(page) {
  await page.goto(`${origin}/usage?range=7d`);
  await page.waitForURL(/\/sign-in/);
  await page.getByLabel("Email").waitFor();
  for (let presses = 0; presses < 8; presses += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement?.textContent === "Use an API key")) break;
  }
  await page.keyboard.press("Enter");
  await page.getByLabel("API key").waitFor();
  for (let presses = 0; presses < 8; presses += 1) {
    if (await page.evaluate(() => document.activeElement?.id === "key")) break;
    await page.keyboard.press("Tab");
  }
  await page.keyboard.type("tg_live_wrong");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").waitFor();
  await page.getByLabel("API key").fill("");
  await page.getByLabel("API key").focus();
  await page.keyboard.type(adminKey);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Usage" }).waitFor();
  // Who signs in goes where they wanted to go.
  await page.waitForURL(/\/usage\?range=7d$/);
  assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes("tg_live_")), false);
  ok("sign_in_by_keyboard");
}

/** `g` and a letter, as fast as a person types. */
async function go(page, letter, heading) {
  await page.locator("body").press("g");
  await page.locator("body").press(letter);
  await page.getByRole("heading", { level: 1, name: heading }).waitFor();
  await eventually(async () => assert.equal(await page.evaluate(() => document.activeElement?.tagName), "H1", "a page begins at its heading"));
}

async function firstRequestArrives(page) {
  await go(page, "o", "Home");
  await page.getByText("No requests yet").waitFor();
  const command = await page.getByLabel("command", { exact: true }).textContent();
  assert.ok(command?.includes(`${origin}/v1/chat/completions`), command);
  await firstPageIsSmall(page);
  const sent = await chat(origin, apiKey, { model: "echo" });
  assert.equal(sent.status, 200);
  const began = Date.now();
  await page.getByRole("table", { name: "Requests" }).getByRole("row").nth(1).waitFor();
  console.error(`seen after ${Date.now() - began} ms`);
  await page.getByText("Requests by outcome").waitFor();
  ok("first_request_arrives");
  return sent.id;
}

async function whyByKeyboard(page, id) {
  await go(page, "r", "Requests");
  await page.locator(`a[href*="${id}"]`).waitFor();
  await page.locator("body").press("j");
  await page.waitForFunction((wanted) => document.activeElement?.getAttribute("href")?.includes(wanted), id);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "echo" }).waitFor();
  const whole = await v2(origin, adminKey, `requests/${id}`);
  const text = await page.locator("main").innerText();
  for (const wanted of [id, "Where the time went", "Cost receipt", "Why this served it", "200 Completed", String(whole.input_tokens + whole.output_tokens)]) {
    assert.ok(text.includes(wanted), `${wanted} is not on the page:\n${text}`);
  }
  assert.ok(text.includes("Your own node served it"));
  await page.goBack();
  await page.getByRole("heading", { level: 1, name: "Requests" }).waitFor();
  ok("why_by_keyboard");
}

async function tailIsLive(page) {
  const rows = page.getByRole("table", { name: "Requests" }).getByRole("row");
  const refused = await chat(origin, apiKey, { model: "no-such-model" });
  assert.equal(refused.status, 404);
  await page.locator(`a[href*="${refused.id}"]`).waitFor();
  await eventually(async () => assert.ok((await rows.count()) >= 3));
  await page.locator("body").press("/");
  await page.keyboard.type("outcome:failed");
  await page.keyboard.press("Enter");
  await page.waitForURL(/filter=outcome/);
  await page.waitForFunction(() => document.querySelectorAll('[role="row"][data-at]').length === 1);
  await page.reload();
  await page.waitForFunction(() => document.querySelectorAll('[role="row"][data-at]').length === 1);
  ok("tail_is_live");
}

async function sumsAreTheServers(page) {
  await visit(page, `${origin}/usage`);
  await page.locator("tr[data-total]").waitFor();
  const { data } = await v2(origin, adminKey, "usage?window=24h");
  const [sums] = data;
  const wanted = { ...sums, requests: sums.requests + sums.unattempted_requests, bills: sums.spend_micros - sums.cost_micros };
  const grouped = new Intl.NumberFormat("en-US");
  for (const name of ["requests", "input_tokens", "output_tokens", "cached_tokens", "spend_micros", "cost_micros", "bills"]) {
    const cell = page.locator(`tr[data-total] [data-sum="${name}"]`);
    const shown = name === "bills" || name.endsWith("_micros")
      ? `$${grouped.format(Math.floor(wanted[name] / 1e6))}.${String(wanted[name] % 1e6).padStart(6, "0")}`
      : grouped.format(wanted[name]);
    await eventually(async () => assert.equal((await cell.innerText()).trim(), shown, name));
  }
  // A number leads to its rows.
  await page.locator("table").getByRole("link", { name: "echo" }).click();
  await page.waitForURL(/\/requests\?filter=model/);
  await page.waitForFunction(() => document.querySelectorAll('[role="row"][data-at]').length > 0);
  ok("sums_are_the_servers");
}

/** When the largest thing on the page was drawn, in ms from when the page was asked for. */
function largestPaint() {
  return new Promise((resume) => {
    new PerformanceObserver((list) => resume(list.getEntries().at(-1).startTime)).observe({ type: "largest-contentful-paint", buffered: true });
  });
}

/** Each main page as at a first visit, with nothing of it in the browser's cache. */
async function mainPagesPaintSoon(page) {
  const latest = Number(TIDEGATE_LARGEST_PAINT_MS);
  assert.ok(latest > 0, "TIDEGATE_LARGEST_PAINT_MS isn't a number");
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Network.setCacheDisabled", { cacheDisabled: true });
  const late = [];
  for (const path of MAIN_PAGES) {
    const times = [];
    for (let load = 0; load < LOADS; load += 1) {
      await visit(page, origin + path);
      times.push(await page.evaluate(largestPaint));
    }
    times.sort((a, b) => a - b);
    const [median, p95] = [0.5, 0.95].map((part) => Math.round(times[Math.ceil(part * times.length) - 1]));
    console.error(`largest paint of ${path}: ${median} ms, p95 ${p95} ms of ${LOADS}`);
    if (p95 > latest) late.push(`${path} ${p95} ms`);
  }
  await devtools.detach();
  assert.deepEqual(late, [], `later than ${latest} ms`);
}

async function paletteFinds(page, id) {
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: /Search pages/ }).waitFor();
  await page.keyboard.type(id);
  await page.getByRole("option").first().waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL(new RegExp(id));
  await page.locator("body").press("?");
  await page.getByRole("dialog", { name: "Shortcuts" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  ok("palette_finds");
}

async function plotByKeyboard(page) {
  await visit(page, `${origin}/`);
  const plot = page.getByRole("slider", { name: /Requests by outcome/ });
  const said = async () => (await plot.getAttribute("aria-valuetext")) ?? "";
  await plot.focus();
  await eventually(async () => {
    await page.keyboard.press("End");
    // Where the hour turned since the request, it is one slot before the newest.
    if ((await said()).endsWith(": nothing")) await page.keyboard.press("ArrowLeft");
    assert.match(await said(), /Completed \d+/);
  });
  await page.getByRole("button", { name: "Requests by outcome as a table" }).click();
  await page.getByRole("region", { name: "Requests by outcome, table" }).waitFor();
  ok("plot_by_keyboard");
}

async function signOut(page) {
  await page.getByRole("button", { name: /you and this device/ }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/\/sign-in/);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  ok("sign_out");
}

await inBrowser(origin, async (open) => {
  await served();
  const page = await open();
  await signInByKeyboard(page);
  const id = await firstRequestArrives(page);
  await whyByKeyboard(page, id);
  await tailIsLive(page);
  await sumsAreTheServers(page);
  if (TIDEGATE_LARGEST_PAINT_MS) await mainPagesPaintSoon(page);
  await paletteFinds(page, id);
  await plotByKeyboard(page);
  await signOut(page);
});

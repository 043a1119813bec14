// Every number on the pages is the server's own, to the last digit, over real traffic of every kind; and a number leads to as many
// rows as it counts.
//
// usage: node numbers.mjs ORIGIN ADMIN_KEY API_KEY EMULATOR OWN_SECRET POOL_SECRET
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { eventually, inBrowser, ok, picture, signIn, v2, visit, withinADay } from "./browser.mjs";
import { trade } from "./trade.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, apiKey, emulator, own, pool] = process.argv.slice(2);
const get = (path) => v2(origin, adminKey, path);
const began = Date.now();

const grouped = new Intl.NumberFormat("en-US");
const count = (value) => grouped.format(value);
/** Six decimals, always. */
const dollars = (micros) => `$${grouped.format(Math.floor(micros / 1e6))}.${String(micros % 1e6).padStart(6, "0")}`;
/** As many decimals as it takes, two at least. */
function exact(amount, scale = 6) {
  const digits = String(amount).padStart(scale + 1, "0");
  const fraction = digits.slice(-scale).replace(/0+$/, "").padEnd(2, "0");
  return `$${grouped.format(Number(digits.slice(0, -scale)))}.${fraction}`;
}
const duration = (us) => {
  const trimmed = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
  return us < 1_000 ? `${us} µs` : us < 1_000_000 ? `${trimmed(us / 1_000)} ms` : `${trimmed(us / 1_000_000)} s`;
};

const texts = async (locator) => (await locator.allInnerTexts()).map((text) => text.replaceAll(/\s+/g, " ").trim());

async function homeIsTheServers(page) {
  await visit(page, `${origin}/`);
  const [total] = (await get("analytics?window=24h")).data;
  assert.ok(total.cost_micros > 0 && total.provider_cost_micros > 0 && total.failed_requests > 0 && total.unattempted_requests > 0);
  assert.equal(total.total_requests, total.requests + total.unattempted_requests);
  const tile = (label) => page.locator(".tile").filter({ hasText: label });
  for (const [label, number, note] of [
    ["Spend", exact(total.spend_micros), undefined],
    ["Requests", count(total.requests + total.unattempted_requests), `${count(total.unattempted_requests)} refused before an attempt`],
    ["Tokens", count(total.input_tokens + total.output_tokens), `${count(total.input_tokens)} in · ${count(total.output_tokens)} out`],
    ["Success rate", `${count(total.requests - total.failed_requests)} of ${count(total.requests + total.unattempted_requests)}`, `${count(total.failed_requests)} failed · ${count(total.unattempted_requests)} refused`],
  ]) {
    assert.equal(await tile(label).locator(".value").getAttribute("title"), number, label);
    if (note) assert.equal(await tile(label).locator(".note").innerText(), note, label);
  }
  for (const [label, times] of [["First byte, p50", total.time_to_first_byte_us], ["Total latency, p50", total.latency_us]]) {
    assert.equal(await tile(label).locator(".value").innerText(), duration(times.p50), label);
    assert.equal(await tile(label).locator(".note").innerText(), `p95 ${duration(times.p95)} · p99 ${duration(times.p99)}`, label);
  }
  const served = Object.fromEntries((await get("usage?window=24h&group_by=profile")).data.map((row) => [row.profile, row]));
  const shares = await texts(page.getByRole("region", { name: "Served by" }).getByRole("listitem"));
  for (const [at, profile] of ["byok", "managed_provider", "byoc"].entries()) {
    const { requests, input_tokens, output_tokens } = served[profile];
    assert.ok(shares[at].includes(` ${count(requests)} `) && shares[at].includes(`${count(input_tokens + output_tokens)} tokens`), shares[at]);
  }
  await picture(page, "home");
  // A plot's numbers, as its table has them.
  await page.getByRole("button", { name: "Requests by outcome as a table" }).click();
  const plot = page.getByRole("region", { name: "Requests by outcome, table" });
  const names = await texts(plot.locator("thead th"));
  const sums = new Array(names.length).fill(0);
  for (const row of await plot.locator("tbody tr").all()) {
    (await texts(row.locator("td"))).forEach((cell, at) => (sums[at + 1] += Number(cell.replaceAll(",", ""))));
  }
  const outcomes = Object.fromEntries((await get("usage?window=24h&group_by=outcome")).data.map((row) => [row.outcome, row]));
  const { completed, failed, client_cancelled: left } = outcomes;
  assert.deepEqual(Object.fromEntries(names.slice(1).map((name, at) => [name, sums[at + 1]])), { Completed: completed.requests, Failed: failed.requests, Refused: failed.unattempted_requests, "Client left": left.requests + left.unattempted_requests });
  ok("home_is_the_servers");
}

/** How many rows a link shows. */
async function rowsBehind(page, href) {
  await visit(page, origin + href);
  const foot = await page.getByText(/shown, the whole time range|requests? in this time range match|No requests match/).innerText();
  return Number(/^([\d,]+) shown/.exec(foot)?.[1].replaceAll(",", "") ?? 0);
}

async function tilesLeadToTheirRows(page) {
  await visit(page, `${origin}/`);
  const [total] = (await get("analytics?window=24h")).data;
  const href = (label, part) => page.locator(".tile").filter({ hasText: label }).locator(`${part} a`).getAttribute("href");
  const links = [
    [await href("Requests", ".value"), total.requests + total.unattempted_requests],
    [await href("Requests", ".note"), total.unattempted_requests],
    [await href("Success rate", ".value"), total.requests - total.failed_requests],
    [await href("Success rate", ".note"), total.failed_requests + total.unattempted_requests],
  ];
  for (const [link, wanted] of links) assert.equal(await rowsBehind(page, link), wanted, link);
  ok("tiles_lead_to_their_rows");
}

async function requestsAreTheServers(page) {
  await visit(page, `${origin}/requests`);
  const { data } = await get("requests?limit=100");
  await page.setViewportSize({ width: 1600, height: 900 });
  const lines = page.locator('[role="row"][data-at]');
  await page.waitForFunction((wanted) => document.querySelectorAll('[role="row"][data-at]').length === wanted, data.length);
  for (const [at, row] of data.entries()) {
    const cells = await texts(lines.nth(at).getByRole("cell"));
    const cost = row.cost_micros > 0 ? row.cost_micros : row.provider_cost_micros;
    const wanted = {
      5: count(row.input_tokens),
      6: row.cached_tokens > 0 ? count(row.cached_tokens) : "–",
      7: `${row.estimated ? "~" : ""}${count(row.output_tokens)}`,
      8: row.unpriced ? "no price" : cost === 0 ? "–" : dollars(cost),
      9: row.time_to_first_byte_us === null ? "–" : duration(row.time_to_first_byte_us),
      10: duration(row.latency_us),
      12: String(row.attempts),
    };
    for (const [place, text] of Object.entries(wanted)) assert.equal(cells[place], text, `${row.id}, column ${place}: ${cells.join(" | ")}`);
    assert.ok(cells[1].startsWith(String(row.status)) && cells[2].startsWith(row.requested_model), cells.join(" | "));
  }
  await page.getByText(`${data.length} in this time range`).first().waitFor();
  await picture(page, "requests");
  await page.setViewportSize({ width: 1280, height: 860 });
  ok("requests_are_the_servers");
}

async function eachRequestIsTheServers(page, sent) {
  for (const [kind, id] of Object.entries(sent)) {
    await visit(page, `${origin}/requests/${id}`);
    const one = await get(`requests/${id}`);
    const [outcome, total, tokens, cost] = await texts(page.locator(".numbers > div"));
    const nanos = one.cost_nanos > 0 ? one.cost_nanos : one.provider_cost_nanos;
    assert.ok(outcome.includes(String(one.status)), `${kind}: ${outcome}`);
    assert.ok(total.includes(duration(one.timeline.settled_us)), `${kind}: ${total}`);
    assert.ok(tokens.includes(` ${count(one.input_tokens + one.output_tokens)}`) && tokens.includes(`${count(one.input_tokens)} in`), `${kind}: ${tokens}`);
    assert.ok(cost.includes(one.unpriced ? "no price" : exact(nanos, 9)), `${kind}: ${cost}`);
    const main = await page.locator("main").innerText();
    if (one.error) assert.ok(main.includes(one.error.message), `${kind}: ${one.error.message}`);
    for (const rejected of one.plan.rejected) assert.ok(main.includes(rejected.detail), `${kind}: ${rejected.detail}`);
    await receiptsAddUp(page, one, kind);
    const steps = await texts(page.getByRole("table", { name: "Steps of the request" }).locator("tbody tr"));
    assert.ok(one.attempts.length === 0 ? steps.length > 0 : steps.length > 4, `${kind}: ${steps.join("; ")}`);
    await picture(page, `request-${kind}`);
  }
  ok("each_request_is_the_servers");
}

async function receiptsAddUp(page, one, kind) {
  const tables = page.getByRole("region", { name: "Cost receipt" }).getByRole("table");
  const priced = one.attempts.filter((attempt) => !attempt.unpriced && (attempt.receipt ?? []).some((line) => line.tokens > 0));
  assert.equal(await tables.count(), priced.length, kind);
  for (const [at, attempt] of priced.entries()) {
    const lines = attempt.receipt.filter((line) => line.tokens > 0);
    const rows = await texts(tables.nth(at).locator("tbody tr"));
    assert.equal(rows.length, lines.length, kind);
    lines.forEach((line, place) => {
      assert.ok(rows[place].includes(count(line.tokens)) && rows[place].includes(exact(line.price_micros_per_million)) && cents(rows[place]) === line.nanos, `${kind}: ${rows[place]}`);
    });
    const foot = await texts(tables.nth(at).locator("tfoot tr"));
    assert.equal(cents(foot[0]), attempt.provider_cost_nanos, kind);
    assert.equal(cents(foot.at(-1)), attempt.cost_nanos, kind);
  }
}

/** The last amount of a line, in nano-USD. */
function cents(text) {
  const [, whole, fraction = ""] = /\$([\d,]+)(?:\.(\d+))?$/.exec(text) ?? [];
  return Number(whole.replaceAll(",", "")) * 1e9 + Number(fraction.padEnd(9, "0"));
}

const GROUPS = ["model", "key", "project", "provider", "profile", "mode", "environment", "outcome", "status", "operation", "credential", "node", "agent", "adapter", "error_code"];

async function usageIsTheServers(page) {
  let followed = 0;
  for (const group of GROUPS) {
    const wanted = (await get(`usage?window=24h&group_by=${group}`)).data;
    await visit(page, `${origin}/usage?group=${group}&metric=requests`);
    const region = page.getByRole("region", { name: `Usage by ${group.replaceAll("_", " ")}, table` });
    await eventually(async () => assert.equal(await region.locator("tbody tr").count(), wanted.length, group));
    const rows = await region.locator("tbody tr").all();
    const shown = await Promise.all(rows.map((row) => texts(row.locator("td"))));
    // A column of its own where something was refused.
    const hasRefusals = wanted.some((row) => row.unattempted_requests > 0);
    const refusals = (row) => (hasRefusals ? [row.unattempted_requests > 0 ? count(row.unattempted_requests) : "–"] : []);
    const tell = (row) => [count(row.requests + row.unattempted_requests), row.failed_requests > 0 ? count(row.failed_requests) : "–", ...refusals(row), count(row.input_tokens), row.cached_tokens > 0 ? count(row.cached_tokens) : "–", `${row.estimated_requests > 0 ? "~" : ""}${count(row.output_tokens)}`, dollars(row.spend_micros), dollars(row.cost_micros), `${row.unpriced_requests > 0 ? "≥ " : ""}${dollars(row.spend_micros - row.cost_micros)}`].join(" | ");
    assert.deepEqual(shown.map((cells) => cells.slice(0, 8 + Number(hasRefusals)).join(" | ")).sort(), wanted.map(tell).sort(), group);
    const links = [];
    for (const [at, row] of rows.entries()) {
      for (const [cell, number] of shown[at].slice(0, 2 + Number(hasRefusals)).entries()) {
        const link = row.locator("td").nth(cell).getByRole("link");
        if (await link.count()) links.push([await link.getAttribute("href"), Number(number.replaceAll(",", ""))]);
      }
    }
    for (const [href, number] of links) assert.equal(await rowsBehind(page, href), number, href);
    followed += links.length;
  }
  await visit(page, `${origin}/usage?metric=bills`);
  await picture(page, "usage");
  console.error(`${followed} numbers of sums led to their rows`);
  assert.ok(followed > 30, `${followed}`);
  ok("usage_is_the_servers");
}

async function keysAndCredentialsAreTheServers(page) {
  const used = new Map((await get("usage?window=30d&group_by=key")).data.map((row) => [row.key, row]));
  await visit(page, `${origin}/keys`);
  for (const key of (await get("api-keys?limit=100")).data) {
    const cells = await texts(page.getByRole("row").filter({ hasText: `…${key.last4}` }).getByRole("cell"));
    const row = used.get(key.id);
    const wanted = row ? [count(row.requests + row.unattempted_requests), count(row.input_tokens + row.output_tokens), dollars(row.spend_micros)] : ["–", "–", "–"];
    assert.deepEqual(cells.slice(-4, -1), wanted, key.name);
  }
  await picture(page, "keys");
  await visit(page, `${origin}/credentials`);
  const each = new Map((await get("usage?window=30d&group_by=credential&profile=byok")).data.map((row) => [row.credential, row]));
  for (const credential of (await get("provider-credentials?limit=100")).data) {
    const cells = await texts(page.getByRole("row").filter({ hasText: credential.secret_fingerprint }).getByRole("cell"));
    const row = each.get(credential.id);
    assert.deepEqual(cells.slice(-2), row ? [`${count(row.requests)} request${row.requests === 1 ? "" : "s"}`, dollars(row.provider_cost_micros)] : ["–", "–"], credential.display_name);
  }
  await picture(page, "credentials");
  ok("keys_and_credentials_are_the_servers");
}

async function moneyIsTheServers(page, { checkout }) {
  await send("POST", "budgets", { key_id: checkout.id, limit_micros: 1_000_000, period: "month" });
  await send("POST", "budgets", { workspace: true, limit_micros: 25_000_000, period: "week", on_reached: "allow" });
  await send("POST", "billing/account/credits", { amount_micros: 40_000_000, note: "the first forty" });
  await withinADay(() => budgetsAreTheServers(page, checkout));
  await withinADay(() => billingIsTheServers(page));
  ok("money_is_the_servers");
}

async function budgetsAreTheServers(page, checkout) {
  await visit(page, `${origin}/budgets`);
  const budgets = (await get("budgets")).data;
  assert.equal(budgets.length, 2);
  for (const budget of budgets) {
    const name = budget.key_id ? "Key checkout" : "The workspace";
    const item = page.getByRole("listitem").filter({ hasText: name });
    const text = await item.innerText();
    for (const amount of [budget.limit_micros, budget.spent_micros, budget.reserved_micros]) assert.ok(text.includes(exact(amount)), `${exact(amount)} is not in ${text}`);
    assert.equal(await item.locator(".free").getAttribute("title"), exact(budget.free_micros));
    // Where a week or a month began since the trade, nothing is spent in it yet.
    assert.ok(budget.spent_micros > 0 || Date.parse(budget.period_start) > began);
    const href = await item.getByRole("link", { name: / spent$/ }).getAttribute("href");
    const rows = (await get(`requests?limit=100&since=${budget.period_start}&filter=attempts:>0${budget.key_id ? `%20key:${checkout.id}` : ""}`)).data;
    assert.equal(await rowsBehind(page, href), rows.length, href);
    await visit(page, `${origin}/budgets`);
  }
  await picture(page, "budgets");
}

async function billingIsTheServers(page) {
  await visit(page, `${origin}/billing`);
  const { mtd } = await get("billing/snapshot");
  const tell = (row) => [count(row.requests), count(row.input_tokens), count(row.cached_tokens), count(row.output_tokens), dollars(row.cost_micros), dollars((row.by_mode ?? [row]).filter((one) => one.mode === "byok").reduce((sum, one) => sum + one.provider_cost_micros, 0))];
  const table = page.getByRole("table").first();
  for (const [at, row] of mtd.by_mode.entries()) assert.deepEqual(await texts(table.locator("tbody tr").nth(at).locator("td")), tell(row), row.mode);
  assert.deepEqual(await texts(table.locator("tfoot tr").first().locator("td")), tell(mtd));
  const account = await get("billing/account");
  const credits = await page.getByRole("region", { name: "Credits" }).innerText();
  for (const amount of [account.credit_micros, account.credited_micros, account.spent_micros]) assert.ok(credits.includes(exact(amount)), credits);
  assert.ok(credits.includes("the first forty"));
  await picture(page, "billing");
  const links = await Promise.all((await table.locator("tbody tr").all()).map((row) => row.getByRole("link").first().getAttribute("href")));
  for (const [at, row] of mtd.by_mode.entries()) assert.equal(await rowsBehind(page, links[at]), row.requests, row.mode);
}

await inBrowser(origin, async (open) => {
  const team = await trade(origin, adminKey, apiKey, { emulator, own, pool });
  const page = await open();
  await signIn(page, origin, adminKey);
  await homeIsTheServers(page);
  await tilesLeadToTheirRows(page);
  await requestsAreTheServers(page);
  await eachRequestIsTheServers(page, team.sent);
  await usageIsTheServers(page);
  await keysAndCredentialsAreTheServers(page);
  await moneyIsTheServers(page, team);
});

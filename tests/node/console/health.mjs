// Whether what serves is healthy, and what caches save: told as the server knows it, and purged by hand.
//
// usage: node health.mjs ORIGIN ADMIN_KEY API_KEY EMULATOR OWN_SECRET SECOND_SECRET
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { chat, eventually, inBrowser, ok, picture, signIn, v2, visit } from "./browser.mjs";
import { isForEveryone } from "./everyone.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, apiKey, emulator, ownSecret, secondSecret] = process.argv.slice(2);
const MINI = "openai/gpt-4o-mini";
const health = () => v2(origin, adminKey, "health/upstreams");

const credential = (name, more) => send("POST", "provider-credentials", { provider: "openai", display_name: name, base_url: `${emulator}/v1`, ...more });
const table = (page, name) => page.getByRole("table", { name, exact: true });

async function nothingServesYet(page) {
  await visit(page, `${origin}/upstreams`);
  await page.getByText("All circuit breakers are closed").waitFor();
  await page.getByText("No recent requests.").waitFor();
  await isForEveryone(page, "health-calm");
  ok("calm_is_told");
}

/** A credential at whose address nothing listens, beside one that works: its breaker opens, and says why. */
async function breakersAreTold(page) {
  const away = await credential("Away", { secret: ownSecret, base_url: "http://127.0.0.1:9/v1" });
  const well = await credential("Well", { secret: secondSecret, region: "eu", limits: { requests_per_minute: 1000 } });
  await eventually(async () => {
    assert.equal((await chat(origin, apiKey, { model: MINI })).status, 200);
    assert.notEqual((await health()).breakers.length, 0);
  });
  const told = await health();
  await visit(page, `${origin}/upstreams`);
  const breakers = table(page, "Open circuit breakers");
  const [host] = told.breakers;
  const row = breakers.getByRole("row").filter({ hasText: host.name });
  await row.getByText(host.detail).waitFor();
  assert.match(host.detail, /^No connection could be opened/);
  assert.match(await row.innerText(), /Away/, "who met it");
  const serves = table(page, "Serving");
  await serves.getByRole("row").filter({ hasText: "Away" }).getByText("broken").waitFor();
  await serves.getByRole("row").filter({ hasText: "Well" }).getByText("ok", { exact: true }).waitFor();
  const { pacing, models } = told.data.find(({ id }) => id === well.id);
  assert.ok(models[0].first_byte_p50_ms >= 0 && pacing.requests_per_minute.limit === 1000);
  const speed = table(page, "Load and speed").getByRole("row").filter({ hasText: "Well" });
  assert.match(await speed.innerText(), /eu[\s\S]*\d+ ms/);
  assert.match(await table(page, "Limits").getByRole("row").filter({ hasText: "requests per minute" }).innerText(), /\d+ of 1,000/);
  await page.getByText(/1 breaker|one open breaker|open breakers/).waitFor();
  await isForEveryone(page, "health-broken");
  // Its own page says the same, and the way there is a link.
  await breakers.getByRole("link", { name: "Away" }).first().click();
  await page.getByRole("heading", { level: 1, name: "Away" }).waitFor();
  await table(page, "Open circuit breakers").getByText(host.detail).waitFor();
  await send("DELETE", `provider-credentials/${away.id}`);
  ok("breakers_are_told");
}

/** Who is not the operator sees what is theirs alone. */
async function othersSeeTheirOwn(open) {
  const made = await send("POST", "workspaces", { name: "the others" });
  const page = await open();
  await signIn(page, origin, made.admin_key);
  await visit(page, `${origin}/upstreams`);
  await page.getByText("Nothing is serving yet.").waitFor();
  const text = await page.locator("main").innerText();
  for (const name of ["Well", "Away", "echo", "127.0.0.1"]) assert.ok(!text.includes(name), name);
  await page.context().close();
  ok("others_see_their_own");
}

async function savingsAreTheServers(page) {
  const [project] = (await v2(origin, adminKey, "projects")).data;
  await send("PATCH", `projects/${project.id}`, { caching: { responses: { mode: "exact" } } });
  for (let sent = 0; sent < 3; sent += 1) assert.equal((await chat(origin, apiKey, { model: MINI })).status, 200);
  const usage = async () => (await v2(origin, adminKey, "usage?window=24h")).data[0]?.reuse;
  await eventually(async () => assert.ok((await usage()).response_cache.hits >= 2));
  await visit(page, `${origin}/caches`);
  const told = await usage();
  await eventually(async () => {
    const tile = page.locator(".tile").filter({ hasText: "Response cache hits" });
    assert.match(await tile.innerText(), new RegExp(`\\b${told.response_cache.hits}\\b`));
  });
  for (const [kind, tokens] of [["input", told.input_tokens], ["realized", told.realized_reused_tokens]]) assert.equal(await page.locator(`[data-tokens=${kind}]`).innerText(), new Intl.NumberFormat("en-US").format(tokens));
  // The plots are tables, too.
  const plot = "Input tokens by cache outcome";
  await page.getByRole("button", { name: `${plot} as a table` }).click();
  assert.ok((await page.getByRole("region", { name: `${plot}, table` }).getByRole("row").count()) > 1);
  await page.getByRole("button", { name: `${plot} as a table` }).click();
  await isForEveryone(page, "caches");
  ok("savings_are_the_servers");
  // By the keyboard alone: the name is typed before anything is deleted.
  await page.getByRole("button", { name: `Purge the cached responses of ${project.name}` }).focus();
  await page.keyboard.press("Enter");
  const form = page.getByRole("dialog");
  const purge = form.getByRole("button", { name: "Purge", exact: true });
  assert.ok(await purge.isDisabled());
  await picture(page, "caches-purge");
  await page.keyboard.type(project.name);
  await page.keyboard.press("Enter");
  await form.waitFor({ state: "detached" });
  assert.equal((await answeredFrom()), "miss");
  ok("answers_are_purged");
}

/** Where the answer to the same request came from. */
async function answeredFrom() {
  const answer = await fetch(`${origin}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    body: JSON.stringify({ messages: [{ role: "user", content: "Hello, tide." }], model: MINI }),
  });
  await answer.text();
  return answer.headers.get("agent-cache");
}

await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  await nothingServesYet(page);
  await breakersAreTold(page);
  await othersSeeTheirOwn(open);
  await savingsAreTheServers(page);
});

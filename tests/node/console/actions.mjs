// What can be done in the console is done against the real server; what people and models write is shown as text and does
// nothing; what can't be shown is told.
//
// usage: node actions.mjs ORIGIN ADMIN_KEY API_KEY EMULATOR OWN_SECRET SECOND_SECRET
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { chat, eventually, inBrowser, ok, signIn, v2, visit } from "./browser.mjs";
import { HOSTILE, populate, send } from "./traffic.mjs";

const [origin, adminKey, , emulator, ownSecret, secondSecret] = process.argv.slice(2);

async function keyIsMadeAndRevoked(page) {
  await visit(page, `${origin}/keys`);
  await page.getByRole("link", { name: "Create a key" }).click();
  await page.getByRole("dialog").getByLabel("Name").fill("from the console");
  await page.getByRole("button", { name: "Create", exact: true }).click();
  const shown = await page.getByRole("dialog").getByLabel("the key", { exact: true }).textContent();
  assert.match(shown ?? "", /^tg_live_/);
  assert.equal((await chat(origin, shown, { model: "echo" })).status, 200, "the shown key works");
  await page.getByRole("button", { name: "Done" }).click();
  const row = page.getByRole("row").filter({ hasText: "from the console" });
  await row.getByRole("button", { name: "Revoke" }).click();
  const confirm = page.getByRole("dialog");
  assert.ok(await confirm.getByRole("button", { name: "Revoke" }).isDisabled(), "a slip of the hand revokes nothing");
  await confirm.getByRole("textbox").fill("from the console");
  await confirm.getByRole("button", { name: "Revoke" }).click();
  await row.waitFor({ state: "detached" });
  assert.equal((await chat(origin, shown, { model: "echo" })).status, 401);
  assert.ok(!(await page.content()).includes(shown), "a key is not kept on the page");
  ok("key_is_made_and_revoked");
}

async function credentialIsSealedVerifiedRotated(page) {
  await visit(page, `${origin}/credentials`);
  await page.getByRole("link", { name: "Add a credential" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Provider").selectOption("openai");
  await form.getByLabel("API key").fill(ownSecret);
  await form.getByLabel("Name").fill("Team account");
  await form.getByLabel("Base URL").fill(`${emulator}/v1`);
  await form.getByRole("button", { name: "Save and verify" }).click();
  await page.getByRole("heading", { level: 1, name: "Team account" }).waitFor();
  await page.getByText("active", { exact: true }).waitFor();
  const before = (await v2(origin, adminKey, "provider-credentials")).data[0];
  assert.ok(before.last_verified_at);
  await page.getByRole("button", { name: "Rotate" }).click();
  await page.getByRole("dialog").getByLabel("New secret").fill(secondSecret);
  await page.getByRole("dialog").getByRole("button", { name: "Rotate" }).click();
  await page.getByText(/version 2/).waitFor();
  const after = (await v2(origin, adminKey, "provider-credentials")).data[0];
  assert.notEqual(after.secret_fingerprint, before.secret_fingerprint);
  const kept = await page.evaluate(() => document.documentElement.outerHTML + JSON.stringify(sessionStorage) + JSON.stringify(localStorage));
  assert.ok(!kept.includes(ownSecret) && !kept.includes(secondSecret), "no secret stays on the page");
  ok("credential_is_sealed_verified_rotated");
}

async function budgetIsSetChangedAndRemoved(page) {
  await visit(page, `${origin}/budgets`);
  await page.getByRole("link", { name: "Set a budget" }).click();
  await page.getByRole("dialog").getByLabel("Limit in dollars").fill("5");
  await page.getByRole("dialog").getByRole("button", { name: "Set", exact: true }).click();
  await page.getByRole("meter", { name: "Spent of The workspace" }).waitFor();
  const [made] = (await v2(origin, adminKey, "budgets")).data;
  assert.deepEqual([made.limit_micros, made.period, made.workspace, made.alerts], [5_000_000, "month", true, [50, 80, 100]]);
  await page.getByRole("button", { name: "Change" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Limit in dollars").fill("7.50");
  await form.getByRole("button", { name: "Change", exact: true }).click();
  await form.waitFor({ state: "detached" });
  await page.getByText("$7.50 a month").waitFor();
  assert.equal((await v2(origin, adminKey, "budgets")).data[0].limit_micros, 7_500_000);
  await page.getByRole("button", { name: "Remove" }).click();
  await page.getByRole("dialog").getByRole("textbox").fill("The workspace");
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await page.getByText("No budgets yet").waitFor();
  assert.equal((await v2(origin, adminKey, "budgets")).data.length, 0);
  await alertRuleIsAddedChangedAndRemoved(page);
  ok("budget_is_set_changed_and_removed");
}

/** From the budgets' page; the rule fires by the requests that there are, and Home shows it. */
async function alertRuleIsAddedChangedAndRemoved(page) {
  await page.getByRole("link", { name: "Alert rules" }).click();
  await page.getByText("No alert rules yet").waitFor();
  await page.getByRole("link", { name: "Add an alert rule" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Name").fill(HOSTILE[0]);
  await form.getByLabel("Above, in dollars").fill("twenty");
  assert.ok(await form.getByRole("button", { name: "Add", exact: true }).isDisabled());
  await form.getByLabel("Metric").selectOption("requests");
  await form.getByLabel("Above, in requests").fill("1000000");
  await form.getByLabel("Window, in minutes").fill("120");
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await form.waitFor({ state: "detached" });
  const row = page.getByRole("row").filter({ hasText: HOSTILE[0] });
  await row.getByText("1,000,000 requests").waitFor();
  const rules = async () => (await v2(origin, adminKey, "alert-rules")).data;
  const [made] = await rules();
  assert.deepEqual([made.metric, made.threshold, made.window_minutes, made.status], ["requests", 1_000_000, 120, "active"]);
  await row.getByRole("link", { name: "Edit" }).click();
  await form.getByLabel("Above, in requests").fill("0");
  await form.getByRole("button", { name: "Save", exact: true }).click();
  await form.waitFor({ state: "detached" });
  assert.deepEqual((await rules()).map(({ id, threshold }) => [id, threshold]), [[made.id, 0]]);
  // A rule is measured as soon as it is changed.
  await eventually(async () => assert.ok((await rules())[0].firing_since));
  await visit(page, `${origin}/alerts`);
  await row.getByText("firing").waitFor();
  await visit(page, `${origin}/`);
  await page.getByRole("region", { name: "Needs attention" }).getByRole("link", { name: "View alert rules" }).click();
  await row.getByRole("button", { name: "Remove" }).click();
  await form.getByRole("textbox").fill(HOSTILE[0]);
  await form.getByRole("button", { name: "Remove", exact: true }).click();
  await page.getByText("No alert rules yet").waitFor();
  assert.deepEqual(await rules(), []);
}

async function routeIsMadeAndExplained(page) {
  await visit(page, `${origin}/routes?edit=new`);
  const form = page.getByRole("dialog");
  await form.getByLabel("Model (exact, or prefix ending in * or /)").fill("openai/gpt-4o*");
  await form.getByLabel("Your keys (BYOK)").check();
  await form.getByRole("button", { name: "Add" }).click();
  // The form shows the same words before the rule is kept.
  await form.waitFor({ state: "detached" });
  await page.getByRole("strong").filter({ hasText: "models matching openai/gpt-4o*" }).waitFor();
  await page.locator("#explain-model").fill("openai/gpt-4o-mini");
  await page.getByText("first choice").waitFor();
  const plan = await send("POST", "plan", { model: "openai/gpt-4o-mini" });
  await eventually(async () => {
    const text = await page.locator("main").innerText();
    for (const said of [plan.attempts[0].display_name, ...plan.rejected.map((rejected) => rejected.detail)]) assert.ok(text.includes(said), said);
  });
  assert.match(page.url(), /model=openai/, "the question is in the address");
  ok("route_is_made_and_explained");
}

async function connectSeesTheFirstRequest(page) {
  await visit(page, `${origin}/connect?model=echo`);
  await page.getByRole("button", { name: "Create a key for this tool" }).click();
  await page.getByText(/is in the snippet. It’s shown only once/).waitFor();
  const snippet = await page.getByLabel("the snippet for curl", { exact: true }).textContent();
  const [, key] = /Bearer (tg_live_\w+)/.exec(snippet ?? "") ?? [];
  assert.ok(snippet?.includes(`${origin}/v1/chat/completions`) && key);
  await page.getByText(/Waiting for the first request/).waitFor();
  assert.equal((await chat(origin, key, { model: "echo" })).status, 200);
  await page.getByText("Received.", { exact: true }).waitFor();
  ok("connect_sees_the_first_request");
}

async function playgroundStreamsText(page) {
  await visit(page, `${origin}/playground?model=echo`);
  await page.getByLabel("Message").fill(HOSTILE[0]);
  await page.keyboard.press("Enter");
  const answer = page.getByRole("article", { name: "echo" });
  await answer.getByText("Request details").waitFor();
  assert.ok((await answer.innerText()).includes(HOSTILE[0]), "what a model says is shown as it says it");
  assert.equal(await answer.locator("img").count(), 0);
  await answer.getByText(/\d+ in, \d+ out/).waitFor();
  ok("playground_streams_text");
}

async function billingIsTheServers(page) {
  // What was asked just now may come into the books between the two looks: then both are taken again.
  await eventually(async () => {
    await visit(page, `${origin}/billing`);
    const { mtd } = await v2(origin, adminKey, "billing/snapshot");
    const total = page.locator("tfoot tr").first();
    const text = (await total.innerText()).replaceAll(/\s+/g, " ");
    assert.ok(text.includes(new Intl.NumberFormat("en-US").format(mtd.requests)), text);
    assert.ok(text.includes(`$${Math.floor(mtd.cost_micros / 1e6)}.${String(mtd.cost_micros % 1e6).padStart(6, "0")}`), text);
  });
  ok("billing_is_the_servers");
}

async function statesAreTold(open) {
  const { key } = await send("POST", "api-keys", { name: "reader", scopes: ["read"] });
  const page = await open();
  await signIn(page, origin, key);
  await visit(page, `${origin}/audit`);
  await page.getByText("You don’t have permission to view the audit.").waitFor();
  await visit(page, `${origin}/requests/trc_00000000000000000000000000000000`);
  await page.getByRole("alert").getByText("not_found").waitFor();
  await visit(page, `${origin}/requests?filter=model:nothing-like-it`);
  await page.getByText(/^0 of \d+ requests? in this time range match/).waitFor();
  await visit(page, `${origin}/keys`);
  // The server goes away: what is shown stays, and its age is told.
  await page.route("**/v2/**", (route) => route.abort());
  await page.getByText(/Showing data from .*(did not answer|didn’t respond)/).waitFor({ timeout: 30_000 });
  await page.unroute("**/v2/**");
  // It is tried again by itself.
  await page.getByText(/Showing data from/).waitFor({ state: "detached", timeout: 40_000 });
  await page.context().close();
  ok("states_are_told");
}

async function nothingHarmed(page) {
  for (const path of ["/", "/requests", "/usage?group=key", "/keys", "/nodes", "/audit", "/routes?model=echo", `/requests?filter=${encodeURIComponent(`model:"${HOSTILE[0]}"`)}`, `/connect?model=${encodeURIComponent(HOSTILE[0])}`, `/playground?model=${encodeURIComponent(HOSTILE[1])}`]) {
    await visit(page, origin + path);
    await page.waitForTimeout(100);
    assert.equal(await page.evaluate(() => window.harmed), undefined, path);
  }
  await visit(page, `${origin}/keys`);
  assert.ok((await page.locator("main").innerText()).includes(HOSTILE[0]), "it is shown as text");
  await page.goto(`${origin}/sign-in?next=${encodeURIComponent("//elsewhere.example/")}`);
  await page.waitForURL(`${origin}/`);
  ok("nothing_harmed");
}

await populate();
await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  await keyIsMadeAndRevoked(page);
  await credentialIsSealedVerifiedRotated(page);
  await budgetIsSetChangedAndRemoved(page);
  await routeIsMadeAndExplained(page);
  await connectSeesTheFirstRequest(page);
  await playgroundStreamsText(page);
  await billingIsTheServers(page);
  await nothingHarmed(page);
  await statesAreTold(open);
});

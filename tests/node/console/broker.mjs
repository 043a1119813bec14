// The broker's rules by hand: a request that is pasted or was served is planned without being sent, a policy is made and tightened, an
// alias is split, released, promoted and rolled back, and a commitment is shown with what it will come to.
//
// usage: node broker.mjs ORIGIN ADMIN_KEY API_KEY EMULATOR OWN_SECRET
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { chat, eventually, inBrowser, ok, signIn, v2, visit, withinADay } from "./browser.mjs";
import { isForEveryone } from "./everyone.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, apiKey, emulator, ownSecret] = process.argv.slice(2);
const MINI = "openai/gpt-4o-mini";

async function requestIsPastedAndPlanned(page) {
  const before = (await v2(origin, adminKey, "requests?limit=100")).data.length;
  await visit(page, `${origin}/routes`);
  await page.getByText("Full request").focus();
  await page.keyboard.press("Enter");
  const field = page.getByLabel("Request body (JSON)");
  await field.fill('{"model": "openai');
  await page.locator('#explain-request[aria-invalid="true"]').waitFor();
  const request = { model: MINI, max_tokens: 50, messages: [{ role: "user", content: "What does the tide do?" }] };
  await field.fill(JSON.stringify(request));
  await page.getByText("first choice").waitFor();
  const plan = await send("POST", "plan", { request });
  const price = `$${String(plan.attempts[0].price.total_nanos / 1e9).slice(0, 6)}`;
  await eventually(async () => {
    const text = await page.locator("main").innerText();
    for (const said of [plan.attempts[0].display_name, "at most", price, "Cheaper", "Faster"]) assert.ok(text.includes(said), said);
  });
  await isForEveryone(page, "plan-pasted");
  assert.ok(!page.url().includes("tide"), "the request stays out of the address");
  assert.equal((await v2(origin, adminKey, "requests?limit=100")).data.length, before, "nothing was sent");
  ok("request_is_pasted_and_planned");
}

async function requestIsPlannedAgain(page) {
  const { id, status } = await chat(origin, apiKey, { model: MINI });
  assert.equal(status, 200);
  await eventually(async () => assert.ok((await v2(origin, adminKey, "requests?limit=20")).data.some((row) => row.id === id)));
  await visit(page, `${origin}/requests/${id}`);
  await page.getByRole("link", { name: "Plan again" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Routes" }).waitFor();
  assert.equal(await page.getByLabel("Model", { exact: true }).inputValue(), MINI);
  await page.getByText("first choice").waitFor();
  ok("request_is_planned_again");
}

async function routeIsTriedAndItsVersionsCompared(page) {
  await visit(page, `${origin}/routes?edit=new`);
  const form = page.getByRole("dialog");
  await form.getByLabel("Model (exact, or prefix ending in * or /)").fill(MINI);
  await form.getByLabel("Providers").fill("anthropic");
  await form.getByRole("button", { name: "Run" }).focus();
  await page.keyboard.press("Enter");
  await form.getByText(/would change/).waitFor();
  const tried = await send("POST", "routes/dry-run", { route: { scope: { model: MINI }, providers: ["anthropic"] } });
  assert.ok(tried.changed > 0 && tried.refusals.new === tried.changed, JSON.stringify(tried));
  const text = await form.innerText();
  assert.ok(text.includes(`${tried.changed} of ${tried.requests.compared} request`), text);
  assert.ok(text.includes(`refused (${tried.moves[0].to.error.code})`), text);
  await isForEveryone(page, "route-tried");
  assert.equal((await v2(origin, adminKey, "routes")).data.length, 0, "nothing is saved");
  const { id } = await send("POST", "routes", { scope: { model: MINI }, profiles: ["byok"] });
  await send("PUT", `routes/${id}`, { scope: { model: MINI }, profiles: ["byok"], strategy: "cheapest" });
  await visit(page, `${origin}/routes`);
  await page.getByRole("button", { name: /History/ }).click();
  await form.getByText("Compare any two").focus();
  await page.keyboard.press("Enter");
  await eventually(async () => assert.equal(await form.getByText("strategy: none → cheapest").count(), 2));
  await form.getByLabel("From").selectOption("2");
  await form.getByText("No differences.").waitFor();
  await isForEveryone(page, "route-compared");
  await send("DELETE", `routes/${id}`);
  ok("route_is_tried_and_its_versions_compared");
}

async function policyIsMadeTightenedAndDeleted(page) {
  await visit(page, `${origin}/policies`);
  await page.getByText("No policies yet").waitFor();
  await page.getByRole("link", { name: "Add a policy" }).focus();
  await page.keyboard.press("Enter");
  const form = page.getByRole("dialog");
  await form.getByLabel("Providers").first().fill("anthropic");
  await form.getByLabel("Checks").fill("{no json");
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await form.locator('textarea[aria-invalid="true"]').waitFor();
  await form.getByLabel("Checks").fill('{"detect": "email", "action": "mask", "direction": "both"}');
  await isForEveryone(page, "policy-new");
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await form.waitFor({ state: "detached" });
  await page.getByText("providers: anthropic").waitFor();
  assert.equal((await chat(origin, apiKey, { model: MINI })).status, 403, "it holds on the wire at once");
  await page.getByText("All projects: allowed providers").waitFor();
  await page.getByRole("button", { name: "Refused requests by rule as a table" }).click();
  assert.equal(await page.getByRole("columnheader", { name: "allowed providers" }).count(), 1);
  const [project] = (await v2(origin, adminKey, "projects")).data;
  await page.getByLabel("Project").selectOption(project.id);
  await page.getByText("providers: anthropic", { exact: true }).waitFor();
  await isForEveryone(page, "policies");
  // Reverse order: what was too narrow is widened.
  await page.getByRole("link", { name: "Edit" }).click();
  await form.getByLabel("Providers").first().fill("anthropic, openai");
  await form.getByLabel("Cost in dollars").fill("a quarter");
  await form.getByRole("button", { name: "Save" }).click();
  await form.getByText("Enter a dollar amount").waitFor();
  await form.getByLabel("Cost in dollars").fill("0.25");
  await form.getByRole("button", { name: "Save" }).click();
  await form.waitFor({ state: "detached" });
  assert.equal((await chat(origin, apiKey, { model: MINI })).status, 200);
  const [policy] = (await v2(origin, adminKey, "policies")).data;
  const { allowed_providers, checks, limits } = policy;
  assert.deepEqual([allowed_providers, checks[0].detect, limits.max_cost_micros], [["anthropic", "openai"], "email", 250_000]);
  await page.getByRole("button", { name: "Delete" }).click();
  await form.getByRole("textbox").fill(policy.id);
  await form.getByRole("button", { name: "Delete" }).click();
  await page.getByText("No policies yet").waitFor();
  ok("policy_is_made_changed_and_deleted");
}

/** The link in the form of a route fills in the region of a new policy, and leaves the rest of that form as it is. */
async function policyForTheEuIsFilledIn(page) {
  await visit(page, `${origin}/routes?edit=new`);
  const form = page.getByRole("dialog");
  await form.getByRole("link", { name: "EU only (a policy)" }).click();
  await page.getByRole("heading", { level: 1, name: "Policies" }).waitFor();
  const region = form.getByLabel("Region restriction");
  await eventually(async () => assert.equal(await region.inputValue(), "eu_only"));
  assert.equal(await form.getByLabel("Applies to").inputValue(), "", "it is for all projects");
  assert.equal((await v2(origin, adminKey, "policies")).data.length, 0, "nothing is saved before a person does it");
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await form.waitFor({ state: "detached" });
  await page.getByText("European Union only", { exact: true }).waitFor();
  const [policy] = (await v2(origin, adminKey, "policies")).data;
  assert.deepEqual([policy.workspace, policy.region_policy, policy.allowed_regions], [true, "eu_only", []]);
  await send("DELETE", `policies/${policy.id}`);
  // The next policy begins with none, and so does one for a region that there isn't.
  for (const query of ["edit=new", "edit=new&region=moon_only"]) {
    await visit(page, `${origin}/policies?${query}`);
    await eventually(async () => assert.equal(await region.inputValue(), "any", query));
  }
  ok("policy_for_the_eu_is_filled_in");
}

async function aliasIsSplitPromotedAndRolledBack(page) {
  await visit(page, `${origin}/aliases`);
  await page.getByRole("link", { name: "Add an alias" }).focus();
  await page.keyboard.press("Enter");
  const form = page.getByRole("dialog");
  await form.getByLabel("Name").fill("code.best");
  await form.getByLabel("Targets").fill(`${MINI} 3\necho 1`);
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await form.waitFor({ state: "detached" });
  const row = page.getByRole("row").filter({ hasText: "code.best" });
  assert.match(await row.innerText(), /75 ?%[\s\S]*25 ?%/);
  assert.equal((await chat(origin, apiKey, { model: "code.best" })).status, 200);
  await row.getByRole("link", { name: "code.best" }).click();
  await page.getByRole("link", { name: "Install a release" }).click();
  await form.getByLabel("Targets").fill("echo");
  await form.getByRole("button", { name: "Run" }).click();
  await form.getByText(/would change/).waitFor();
  await form.getByLabel("Parameters").fill("temperature 0..1 0.7 clamp");
  await form.getByLabel("Note").fill("the small one");
  await form.getByRole("button", { name: "Install" }).click();
  await form.waitFor({ state: "detached" });
  await page.getByRole("link", { name: "Start a canary" }).click();
  await form.getByLabel("Share of callers, %").fill("20");
  await isForEveryone(page, "alias-canary");
  await form.getByRole("button", { name: "Start" }).click();
  await page.getByText("20%", { exact: true }).waitFor();
  await isForEveryone(page, "alias");
  await page.getByRole("region", { name: "Canary" }).getByRole("button", { name: "Promote" }).click();
  await page.getByText(/number 2/).waitFor();
  const alias = async () => (await v2(origin, adminKey, "model-aliases")).data.find(({ name }) => name === "code.best");
  assert.equal((await alias()).release_number, 2);
  // Every release is kept, and the way back is one step.
  await page.getByRole("region", { name: "Compare releases" }).getByText(/^parameters: /).waitFor();
  const releases = page.getByRole("region", { name: "Releases", exact: true });
  assert.equal(await releases.getByRole("row").count(), 3);
  await page.getByRole("button", { name: "Roll back" }).click();
  await page.getByText(/number 1/).waitFor();
  assert.equal((await alias()).release_number, 1);
  ok("alias_is_split_promoted_and_rolled_back");
}

async function commitmentIsForecast(page, credential) {
  await visit(page, `${origin}/commitments`);
  await page.getByText("No commitments yet.").waitFor();
  await send("PATCH", `provider-credentials/${credential}`, { commitment: { amount_micros: 50_000_000_000, period: "month" } });
  const told = async () => (await v2(origin, adminKey, "commitments")).data[0];
  // What was asked in the month before counts for that one.
  await withinADay(async () => {
    assert.equal((await chat(origin, apiKey, { model: MINI })).status, 200);
    await eventually(async () => assert.ok((await told()).used_micros > 0));
  });
  await visit(page, `${origin}/commitments`);
  const meter = page.getByRole("meter", { name: "Used of Team account" });
  await eventually(async () => assert.equal(await meter.getAttribute("aria-valuenow"), String((await told()).used_micros)));
  await page.getByText(/would be paid for but not used/).waitFor();
  await page.getByRole("button", { name: "Remaining of Team account as a table" }).click();
  assert.ok((await page.getByRole("region", { name: "Remaining of Team account, table" }).getByRole("row").count()) > 1);
  await page.getByRole("button", { name: "Remaining of Team account as a table" }).click();
  await isForEveryone(page, "commitments");
  ok("commitment_is_forecast");
}

const made = await send("POST", "provider-credentials", { provider: "openai", display_name: "Team account", secret: ownSecret, base_url: `${emulator}/v1` });
await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  await requestIsPastedAndPlanned(page);
  await requestIsPlannedAgain(page);
  await routeIsTriedAndItsVersionsCompared(page);
  await policyForTheEuIsFilledIn(page);
  await policyIsMadeTightenedAndDeleted(page);
  await aliasIsSplitPromotedAndRolledBack(page);
  await commitmentIsForecast(page, made.id);
});

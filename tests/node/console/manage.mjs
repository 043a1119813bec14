// What is managed in the console holds at once on the wire: limits of a key, a node that is drained, a credential that is switched
// off, a route that is changed; and the audit tells of each of it, with a proof.
//
// usage: node manage.mjs ORIGIN ADMIN_KEY API_KEY EMULATOR OWN_SECRET NODE_URL
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { chat, eventually, inBrowser, ok, picture, signIn, v2, violations, visit } from "./browser.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, apiKey, emulator, ownSecret, nodeUrl] = process.argv.slice(2);
const MINI = "openai/gpt-4o-mini";

async function accessible(page) {
  assert.deepEqual(await violations(page), []);
}

async function keyIsBounded(page) {
  await visit(page, `${origin}/keys`);
  await page.getByRole("link", { name: "Create a key" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Name").fill("bounded");
  await form.getByLabel("Requests per minute").fill("2");
  await form.getByRole("button", { name: "Create", exact: true }).click();
  const key = await form.getByLabel("the key", { exact: true }).textContent();
  await accessible(page);
  await page.getByRole("button", { name: "Done" }).click();
  const row = page.getByRole("row").filter({ hasText: "bounded" });
  await row.getByText("2 requests/min").waitFor();
  const statuses = [];
  for (let sent = 0; sent < 3; sent += 1) statuses.push((await chat(origin, key, { model: "echo" })).status);
  assert.deepEqual(statuses, [200, 200, 429]);
  await row.getByRole("button", { name: "Edit" }).click();
  assert.equal(await form.getByLabel("Requests per minute").inputValue(), "2");
  await form.getByLabel("Name").fill("unbounded");
  await form.getByLabel("Requests per minute").fill("");
  await accessible(page);
  await form.getByRole("button", { name: "Save" }).click();
  await form.waitFor({ state: "detached" });
  assert.equal((await chat(origin, key, { model: "echo" })).status, 200);
  // What was typed for one key is not there for the next.
  await page.getByRole("link", { name: "Create a key" }).click();
  assert.equal(await form.getByLabel("Name").inputValue(), "");
  await page.keyboard.press("Escape");
  ok("key_is_bounded");
}

async function nodeIsAddedDrainedRemoved(page) {
  await visit(page, `${origin}/nodes`);
  await page.getByRole("link", { name: "Add a node" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Name").fill("attic");
  await form.getByLabel("Address").fill(nodeUrl);
  await form.getByLabel("Labels").fill("gpu, attic");
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await form.waitFor({ state: "detached" });
  const row = page.getByRole("row").filter({ hasText: "attic" });
  await row.getByText("ready").waitFor();
  await row.getByRole("link", { name: "echo" }).waitFor();
  assert.equal((await chat(origin, apiKey, { model: "echo" })).status, 200);
  await row.getByRole("button", { name: "Drain" }).click();
  await row.getByText("draining").waitFor();
  const others = (await v2(origin, adminKey, "byoc/nodes")).data.filter((node) => node.status === "ready").length;
  assert.equal((await chat(origin, apiKey, { model: "echo" })).status, others > 0 ? 200 : 404);
  await accessible(page);
  await row.getByRole("button", { name: "Uncordon" }).click();
  await row.getByText("ready").waitFor();
  await row.getByRole("button", { name: "Remove" }).click();
  await form.getByRole("textbox").fill("attic");
  await form.getByRole("button", { name: "Remove" }).click();
  await row.waitFor({ state: "detached" });
  ok("node_is_added_drained_removed");
}

async function credentialIsSwitchedAndDeleted(page) {
  const made = await send("POST", "provider-credentials", { provider: "openai", display_name: "Team account", secret: ownSecret, base_url: `${emulator}/v1` });
  await visit(page, `${origin}/credentials/${made.id}`);
  assert.equal((await chat(origin, apiKey, { model: MINI })).status, 200);
  await page.getByRole("button", { name: "Disable" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Disable" }).click();
  await page.getByText("disabled", { exact: true }).waitFor();
  assert.equal((await chat(origin, apiKey, { model: MINI })).status, 404, "a credential that is off counts as absent");
  await accessible(page);
  await page.getByRole("button", { name: "Enable" }).click();
  await page.getByText("active", { exact: true }).waitFor();
  assert.equal((await chat(origin, apiKey, { model: MINI })).status, 200);
  // A secret that the provider refuses is told where it is needed: here, and on Home.
  await page.getByRole("button", { name: "Rotate" }).click();
  await page.getByRole("dialog").getByLabel("New secret").fill("sk-nobody-knows-this-one");
  await accessible(page);
  await page.getByRole("dialog").getByRole("button", { name: "Rotate" }).click();
  await page.getByRole("dialog").getByText(/The old secret still serves/).waitFor();
  assert.equal((await chat(origin, apiKey, { model: MINI })).status, 200, "the old secret serves on");
  // Who insists replaces it unasked.
  await page.getByLabel("Replace without asking the provider").check();
  await page.getByRole("dialog").getByRole("button", { name: "Rotate" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByText("invalid", { exact: true }).waitFor();
  await visit(page, `${origin}/`);
  await page.getByText('refuses the credential "Team account".').waitFor();
  await picture(page, "needs-attention");
  await page.getByRole("link", { name: "Rotate" }).click();
  await page.getByRole("heading", { level: 1, name: "Team account" }).waitFor();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("textbox").fill("Team account");
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { level: 1, name: "Credentials" }).waitFor();
  await eventually(async () => assert.ok(!(await page.locator("main").innerText()).includes("Team account")));
  ok("credential_is_switched_and_deleted");
}

/** What was agreed with a provider is stated by the keyboard; what the server refuses stands at its field. */
async function credentialStatesItsAgreement(page) {
  const made = await send("POST", "provider-credentials", { provider: "openai", display_name: "Agreed account", secret: ownSecret, base_url: `${emulator}/v1`, compliance: ["gdpr"] });
  await visit(page, `${origin}/credentials/${made.id}`);
  const panel = page.getByRole("region", { name: "Contract terms" });
  await panel.getByText("gdpr", { exact: true }).waitFor();
  await panel.getByRole("button", { name: "Edit" }).focus();
  await page.keyboard.press("Enter");
  const form = page.getByRole("dialog");
  // The first field has the keyboard; from there everything is reached in order.
  await page.keyboard.type("1,500");
  assert.equal(await form.getByLabel("Requests per minute").inputValue(), "1,500");
  await form.getByLabel("Data retention").selectOption("limited, in days");
  await form.getByLabel("Days").fill("4000");
  await form.getByLabel("Committed spend, in dollars").fill("50000");
  await form.getByLabel("Per", { exact: true }).selectOption("quarter");
  await form.getByLabel("Compliance").fill("HIPAA, soc2");
  await form.getByLabel("Custom prices").fill(`${MINI} = 0.1 / 0.4`);
  await form.getByLabel("Compliance").focus();
  await page.keyboard.press("Enter");
  await eventually(async () => assert.equal(await form.getByLabel("Days").getAttribute("aria-invalid"), "true"));
  assert.ok(await form.getByLabel("Days").evaluate((field) => field === document.activeElement), "what is wrong has the keyboard");
  await accessible(page);
  await page.keyboard.press("Control+A");
  await page.keyboard.type("30");
  await page.keyboard.press("Enter");
  await eventually(async () => assert.equal(await form.getByLabel("Compliance").getAttribute("aria-invalid"), "true"));
  assert.equal(await form.getByLabel("Days").getAttribute("aria-invalid"), "false");
  await picture(page, "credential-agreement-refused");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("hipaa, soc2");
  await page.keyboard.press("Enter");
  await form.waitFor({ state: "detached" });
  for (const said of ["1,500", "30 days", "$50,000.00 a quarter", "hipaa, soc2"]) await panel.getByText(said, { exact: true }).waitFor();
  await panel.getByRole("row").filter({ hasText: MINI }).getByText("$0.40").waitFor();
  const kept = await v2(origin, adminKey, `provider-credentials/${made.id}`);
  assert.deepEqual([kept.limits, kept.retention, kept.commitment, kept.compliance, kept.pricing], [{ requests_per_minute: 1500 }, { days: 30 }, { amount_micros: 50_000_000_000, period: "quarter" }, ["hipaa", "soc2"], { [MINI]: { input: 100_000, output: 400_000 } }]);
  await accessible(page);
  await picture(page, "credential-agreement");
  // What is not typed any more is taken back.
  await panel.getByRole("button", { name: "Edit" }).click();
  await form.getByLabel("Custom prices").fill("");
  await form.getByLabel("Committed spend, in dollars").fill("");
  await form.getByRole("button", { name: "Save" }).click();
  await form.waitFor({ state: "detached" });
  const less = await v2(origin, adminKey, `provider-credentials/${made.id}`);
  assert.deepEqual([less.commitment, less.pricing, less.compliance], [null, {}, ["hipaa", "soc2"]]);
  await send("DELETE", `provider-credentials/${made.id}`);
  ok("credential_states_its_agreement");
}

/** An account of the operator's has the same facts; what is stated of its prices is what the next plan counts with. */
async function accountStatesItsPrices(page) {
  const made = await send("POST", "accounts", { provider: "openai", display_name: "Pooled account", secret: ownSecret, base_url: `${emulator}/v1`, markup_bps: 250 });
  await visit(page, `${origin}/accounts`);
  await page.getByRole("row").filter({ hasText: "Pooled account" }).getByText("all models").waitFor();
  await accessible(page);
  await picture(page, "accounts");
  await page.getByRole("link", { name: "Pooled account" }).click();
  await page.getByText("2.50%", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Edit" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Custom prices").fill(`${MINI} = 0.125 / 0.5 / 0.0625`);
  await form.getByLabel("Data retention").selectOption("zero retention");
  await form.getByRole("button", { name: "Save" }).click();
  await form.waitFor({ state: "detached" });
  await page.getByText("no retention", { exact: true }).waitFor();
  await page.getByRole("table", { name: "Custom prices" }).getByText("$0.0625").waitFor();
  const plan = await send("POST", "plan", { model: MINI });
  assert.deepEqual([plan.attempts[0].pricing.input_micros_per_million, plan.attempts[0].pricing.cached_input_micros_per_million], [125_000, 62_500]);
  await accessible(page);
  await picture(page, "account");
  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByText(/^verified /).waitFor();
  await page.getByRole("button", { name: "Disable" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Disable" }).click();
  await page.getByText("disabled", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Delete" }).click();
  await form.getByRole("textbox").fill("Pooled account");
  await form.getByRole("button", { name: "Delete" }).click();
  await page.getByText("No accounts yet").waitFor();
  ok("account_states_its_prices");
}

/** A provider that takes several kinds of secrets asks for what each of them needs. */
async function credentialSignsInByItsDirectory(page) {
  await visit(page, `${origin}/credentials?new=azure_openai`);
  const form = page.getByRole("dialog");
  await form.getByLabel("Authentication").selectOption("Managed identity");
  await form.getByText("The operator lists the workspaces").waitFor();
  assert.equal(await form.getByLabel("Tenant id").count(), 0);
  await form.getByLabel("Authentication").selectOption("Entra client secret");
  await form.getByLabel("Entra client secret").fill(ownSecret);
  await form.getByLabel("Base URL").fill(`${emulator}/azure`);
  await form.getByLabel("Tenant id").fill("72f988bf-86f1-41af-91ab-2d7cd011db47");
  await form.getByLabel("Client id").fill("11111111-2222-3333-4444-555555555555");
  await form.getByLabel("Deployments").fill("openai/gpt-4o-mini = my-gpt-4o-mini");
  await form.getByLabel("Directory").fill(`${emulator}/entra`);
  await form.getByText("Minimum permissions").click();
  await form.getByText("Cognitive Services OpenAI User").waitFor();
  await accessible(page);
  await picture(page, "credential-by-directory");
  await form.getByRole("button", { name: "Save and verify" }).click();
  await page.getByText("oauth client", { exact: true }).waitFor();
  await page.getByText("active", { exact: true }).waitFor();
  assert.equal((await chat(origin, apiKey, { model: MINI })).status, 200);
  // What the provider told of its limits beside that answer stands here.
  await visit(page, page.url());
  const limits = page.getByRole("table", { name: "Limits reported by the provider" });
  await limits.getByRole("row").filter({ hasText: "my-gpt-4o-mini" }).getByText("of 10,000").waitFor();
  await accessible(page);
  await picture(page, "credential-limits");
  await send("DELETE", new URL(page.url()).pathname.replace("/credentials/", "provider-credentials/"));
  ok("credential_signs_in_by_its_directory");
}

async function routeIsChangedAndDeleted(page) {
  await send("POST", "routes", { scope: { model: "echo" }, profiles: ["byok"] });
  await visit(page, `${origin}/routes?model=echo`);
  const explain = page.getByRole("region", { name: "What would serve it?" });
  await explain.getByText("Nothing can serve it.").waitFor();
  await explain.getByText("profile not in route").waitFor();
  assert.equal((await chat(origin, apiKey, { model: "echo" })).status, 404, "as it was explained");
  await page.getByRole("link", { name: "Edit" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Your nodes (BYOC)").check();
  await accessible(page);
  await form.getByRole("button", { name: "Save" }).click();
  await form.waitFor({ state: "detached" });
  // The explanation is of what is in force now, without asking for it.
  await explain.getByText("first choice").waitFor();
  assert.equal((await chat(origin, apiKey, { model: "echo" })).status, 200);
  await picture(page, "routes-explained");
  await page.getByRole("button", { name: "Delete" }).click();
  await form.getByRole("textbox").fill("the model echo");
  await form.getByRole("button", { name: "Delete" }).click();
  await page.getByText("No routes yet").waitFor();
  ok("route_is_changed_and_deleted");
}

async function auditTellsAllOfIt(page) {
  await visit(page, `${origin}/audit`);
  const { data } = await v2(origin, adminKey, "audit?limit=100");
  const rows = await eventually(async () => {
    const shown = await page.locator("tbody tr").allInnerTexts();
    assert.equal(shown.length, data.length);
    return shown;
  });
  data.forEach((entry, at) => {
    for (const said of [entry.sequence === null ? "–" : String(entry.sequence), entry.action, entry.detail]) assert.ok(rows[at].includes(said), `${said} is not in ${rows[at]}`);
  });
  await accessible(page);
  await picture(page, "audit");
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download signed proof" }).click()]);
  const proof = JSON.parse(readFileSync(await file.path(), "utf8"));
  const head = data.find((entry) => entry.sequence);
  assert.deepEqual([proof.head.length, proof.head.hash, proof.entries.at(-1).hash], [head.sequence, head.hash, head.hash]);
  assert.ok((await page.locator("main").innerText()).includes(head.hash.slice(0, 12)));
  const [table] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export CSV" }).click()]);
  assert.equal(readFileSync(await table.path(), "utf8").trim().split("\r\n").length, data.length + 1);
  ok("audit_tells_all_of_it");
}

/** What is on the screen, for elsewhere. */
async function rowsAreTakenAlong(page) {
  // What was asked just now may come into the books between the two looks: then both are taken again.
  await eventually(async () => {
    const { data } = await v2(origin, adminKey, "requests?limit=1000&filter=model:echo");
    await visit(page, `${origin}/requests?filter=model:echo`);
    await page.getByRole("button", { name: "Copy or save" }).click();
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save as CSV" }).click()]);
    const lines = readFileSync(await file.path(), "utf8").trim().split("\n");
    assert.equal(lines.length, data.length + 1);
    assert.ok(data.every((row, at) => lines[at + 1].includes(row.id)));
  });
  ok("rows_are_taken_along");
}

await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  await keyIsBounded(page);
  await nodeIsAddedDrainedRemoved(page);
  await credentialIsSwitchedAndDeleted(page);
  await credentialStatesItsAgreement(page);
  await accountStatesItsPrices(page);
  await credentialSignsInByItsDirectory(page);
  await routeIsChangedAndDeleted(page);
  await auditTellsAllOfIt(page);
  await rowsAreTakenAlong(page);
});

// What is owed, and who is told of it: the pages of billing, an invoice and the webhooks, against the server's own numbers and a
// receiver of our own.
//
// usage: node money.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { eventually, inBrowser, ok, signIn, v2, visit, withinADay } from "./browser.mjs";
import { serve } from "./servers.mjs";
import { populate, send } from "./traffic.mjs";

const [origin, adminKey] = process.argv.slice(2);
const dollars = (micros) => `$${Math.floor(micros / 1e6)}.${String(micros % 1e6).padStart(6, "0")}`;

async function put(path, body) {
  const headers = { authorization: `Bearer ${adminKey}`, "content-type": "application/json" };
  const answer = await fetch(`${origin}/v2/${path}`, { method: "PUT", headers, body: JSON.stringify(body) });
  assert.equal(answer.status, 200, await answer.text());
}

async function invoiceIsTheServers(page) {
  await put("tariff", { monthly_base_micros: 12_000_000, profiles: { byoc: { per_million_requests_micros: 1_000_000_000 } } });
  const snapshot = await v2(origin, adminKey, "billing/snapshot");
  await visit(page, `${origin}/billing`);
  await page.getByText("Owed so far").waitFor();
  await eventually(async () => assert.ok((await page.locator("tfoot").innerText()).includes(dollars(snapshot.owed_micros))));
  const [draft] = (await v2(origin, adminKey, "billing/invoices")).data;
  await page.locator(`tbody a[href="/billing/${draft.id}"]`).click();
  await page.getByRole("heading", { level: 1, name: "Invoice" }).waitFor();
  await page.getByText("Monthly base").waitFor();
  const whole = await v2(origin, adminKey, `billing/invoices/${draft.id}`);
  const rows = await page.locator("tbody tr").allInnerTexts();
  assert.equal(rows.length, whole.lines.length);
  whole.lines.forEach((line, at) => {
    assert.ok(rows[at].includes(line.description) && rows[at].includes(dollars(line.amount_micros)), rows[at]);
  });
  assert.equal(await page.locator("[data-total]").innerText(), dollars(whole.total_micros));
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "CSV" }).click()]);
  assert.equal(file.suggestedFilename(), `${draft.id}.csv`);
  ok("invoice_is_the_servers");
}

async function webhookIsAddedTestedRotatedResent(page, receiver) {
  await visit(page, `${origin}/webhooks`);
  await page.getByRole("link", { name: "Add a webhook" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Address").fill(receiver);
  await form.getByLabel("Events").fill("key.revoked");
  await form.getByLabel("Description").fill("<img src=x onerror='window.harmed=1'>");
  await form.getByRole("button", { name: "Add", exact: true }).click();
  const secret = await form.getByLabel("the signing secret", { exact: true }).textContent();
  assert.match(secret ?? "", /^whsec_/);
  await form.getByRole("link", { name: "Done" }).click();
  await page.getByRole("button", { name: "Send a test" }).click();
  await page.getByText("The test was delivered (204).").waitFor();
  assert.ok(!(await page.content()).includes(secret), "a secret is not kept on the page");
  await page.getByRole("button", { name: "Rotate the secret" }).click();
  assert.notEqual(await page.getByRole("dialog").getByLabel("the signing secret", { exact: true }).textContent(), secret);
  await page.getByRole("button", { name: "Done" }).click();
  await page.getByText(/Both secrets sign until/).waitFor();
  const { id } = await send("POST", "api-keys", { name: "short-lived" });
  await fetch(`${origin}/v2/api-keys/${id}`, { method: "DELETE", headers: { authorization: `Bearer ${adminKey}` } });
  const row = page.getByRole("row").filter({ hasText: "key.revoked" });
  await row.getByText("delivered").waitFor();
  await row.getByRole("button", { name: "Resend" }).click();
  // Delivered again, at its second try.
  await row.getByText("2", { exact: true }).waitFor();
  await row.getByText("delivered").waitFor();
  await quietHoursAreSetAndTakenAway(page);
  assert.equal(await page.evaluate(() => window.harmed), undefined);
  ok("webhook_is_added_tested_rotated_resent");
}

async function quietHoursAreSetAndTakenAway(page) {
  const hook = async () => (await v2(origin, adminKey, "webhooks")).data[0];
  await page.getByRole("button", { name: "Change" }).click();
  const form = page.getByRole("dialog");
  await form.getByText("Quiet hours", { exact: true }).click();
  await form.getByLabel("Quiet from").fill("22:00");
  await form.getByLabel("Quiet until").fill("07:00");
  await form.getByLabel("Offset from UTC").fill("+02:00");
  await form.getByRole("button", { name: "Change", exact: true }).click();
  await page.getByText("Quiet hours: every day 22:00 to 07:00 (UTC+02:00).").waitFor();
  assert.deepEqual((await hook()).quiet_hours, { weekdays: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from: "22:00", to: "07:00", utc_offset: "+02:00" });
  await page.getByRole("button", { name: "Change" }).click();
  for (const label of ["Quiet from", "Quiet until"]) await form.getByLabel(label).fill("");
  for (const day of await form.getByRole("checkbox").all()) await day.uncheck();
  await form.getByRole("button", { name: "Change", exact: true }).click();
  await page.getByText("No quiet hours.").waitFor();
  assert.equal((await hook()).quiet_hours, null);
  assert.deepEqual((await hook()).events, ["key.revoked"], "what is not changed stays");
}

async function slackIsSealed(page) {
  await visit(page, `${origin}/webhooks`);
  await page.getByRole("link", { name: "Add a webhook" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Format").selectOption("slack");
  await form.getByLabel("Address").fill("http://127.0.0.1:9/services/T0/B0/secret");
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await form.getByText("Its URL is stored encrypted").waitFor();
  await form.getByRole("link", { name: "Done" }).click();
  await page.getByText("The URL is the secret").waitFor();
  assert.equal(await page.getByRole("button", { name: "Rotate the secret" }).count(), 0);
  assert.ok(!(await page.content()).includes("services/T0"), "only its host is shown");
}

await populate();
const server = await serve((_, response) => response.writeHead(204).end());
await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  await withinADay(() => invoiceIsTheServers(page));
  await webhookIsAddedTestedRotatedResent(page, `${server.base}/hook`);
  await slackIsSealed(page);
});
server.close();

// Why a request failed, and what a person does about it: the reason and what refused it, failures like it, another try,
// the call as code that runs, and a comparison with a request that went well.
//
// usage: node why.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { chat, eventually, inBrowser, ok, picture, signIn, v2, visit } from "./browser.mjs";
import { isForEveryone } from "./everyone.mjs";
import { sendJson, serve } from "./servers.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);
const MINI = "openai/gpt-4o-mini";
const REFUSAL = "The account has no access to this deployment.";

/** A provider that refuses every chat in its own words. */
function provider(request, response) {
  if (request.method === "GET") sendJson(response, 200, { object: "list", data: [{ id: "gpt-4o-mini", object: "model" }] });
  else sendJson(response, 403, { error: { message: REFUSAL, type: "invalid_request_error", param: null, code: "no_access" } });
}

const whole = (id) => eventually(() => v2(origin, adminKey, `requests/${id}`));
const reason = (page) => page.getByRole("region", { name: "Why it didn’t complete" });

/** A policy refuses it: the page begins with that, in the words that the client read, and leads to the policy. */
async function reasonComesFirst(page) {
  const [project] = (await v2(origin, adminKey, "projects")).data;
  const policy = await send("POST", "policies", { project_id: project.id, profiles: ["byok"] });
  const refused = await chat(origin, apiKey, { model: "echo" });
  assert.equal((await chat(origin, apiKey, { model: "echo" })).status, refused.status);
  const { error, error_code: code, attempts } = await whole(refused.id);
  assert.deepEqual([attempts, error.refused_by.object, error.refused_by.id], [[], "policy", policy.id]);
  await visit(page, `${origin}/requests/${refused.id}`);
  const text = await reason(page).innerText();
  for (const wanted of ["Refused before an attempt", error.message, error.fix, code, policy.id]) assert.ok(text.includes(wanted), `${wanted} is not in:\n${text}`);
  const first = page.locator("main section, main .numbers, main .panel").first();
  assert.equal(await first.getAttribute("aria-label"), "Why it didn’t complete");
  await isForEveryone(page, "why-refused");
  await reason(page).getByRole("link", { name: "View policy" }).click();
  await page.getByRole("heading", { level: 1, name: "Policies" }).waitFor();
  await send("DELETE", `policies/${policy.id}`);
  ok("reason_comes_first");
  return refused.id;
}

/** What the provider said is what the page says, and its credential is a click away. */
async function providersWordsAreTold(page, base) {
  const credential = await send("POST", "provider-credentials", { provider: "openai", display_name: "Denied", base_url: `${base}/v1`, secret: "sk-denied" });
  const failed = await chat(origin, apiKey, { model: MINI });
  const { error_code: code } = await whole(failed.id);
  await visit(page, `${origin}/requests/${failed.id}`);
  const text = await reason(page).innerText();
  for (const wanted of ["Failed after 1 attempt", "openai answered 403 to the attempt.", REFUSAL, code]) assert.ok(text.includes(wanted), `${wanted} is not in:\n${text}`);
  await picture(page, "why-failed");
  await reason(page).getByRole("link", { name: "View credential" }).click();
  await page.waitForURL(new RegExp(credential.id));
  await page.getByRole("heading", { level: 1, name: "Denied" }).waitFor();
  ok("providers_words_are_told");
}

/** Each of the links leads to as many requests as failed so. */
async function similarFailuresAreFound(page, refused) {
  const { data } = await v2(origin, adminKey, "requests?limit=100");
  const { error_code: code } = await whole(refused);
  const alike = data.filter((row) => row.error_code === code);
  assert.equal(alike.length, 2);
  await visit(page, `${origin}/requests/${refused}`);
  const names = await reason(page).locator("p", { hasText: "Similar failures" }).getByRole("link").allInnerTexts();
  assert.deepEqual(names, ["with this error", "and this model", "and this key"]);
  for (const name of names) {
    await visit(page, `${origin}/requests/${refused}`);
    await reason(page).getByRole("link", { name }).click();
    await page.waitForURL(/\/requests\?filter=error/);
    await page.waitForFunction((wanted) => document.querySelectorAll('[role="row"][data-at]').length === wanted, alike.length);
    for (const row of alike) assert.equal(await page.locator(`a[href*="${row.id}"]`).count(), 1, name);
  }
  ok("similar_failures_are_found");
}

/** The policy is gone: the same model answers in the playground, and the request is the one that is compared with. */
async function requestIsTriedAgain(page, refused) {
  await visit(page, `${origin}/requests/${refused}`);
  await page.getByRole("link", { name: "Try again in the playground" }).click();
  await page.getByRole("heading", { level: 1, name: "Playground" }).waitFor();
  const { searchParams } = new URL(page.url());
  assert.deepEqual([searchParams.get("model"), searchParams.get("from")], ["echo", refused]);
  await page.getByLabel("Message").fill("Once more.");
  await page.keyboard.press("Enter");
  const answer = page.getByRole("article", { name: "echo" });
  const details = answer.getByRole("link", { name: "Request details" });
  await details.waitFor();
  const id = new URL(await details.getAttribute("href"), origin).pathname.split("/").at(-1);
  assert.equal((await whole(id)).status, 200);
  ok("request_is_tried_again");
  return id;
}

/** What is copied for the shell runs in one, as it is. */
async function copiedCallRuns(page, refused) {
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin });
  await visit(page, `${origin}/requests/${refused}`);
  const copied = {};
  for (const name of ["curl", "Python", "TypeScript"]) {
    await page.getByRole("button", { name: "Copy as code" }).click();
    await page.getByRole("button", { name, exact: true }).click();
    await page.getByText(`${name} copied`).waitFor({ state: "attached" });
    copied[name] = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(copied[name].includes("echo") && copied[name].includes(`${origin}/v1`), copied[name]);
    assert.ok(!copied[name].includes(apiKey) && !copied[name].includes(adminKey), "no key is in it");
  }
  assert.match(copied.Python, /^import os\n\nfrom openai import OpenAI/);
  assert.match(copied.TypeScript, /^import OpenAI from 'openai'/);
  const { stdout } = await promisify(execFile)("sh", ["-c", copied.curl], { env: { ...process.env, TIDEGATE_API_KEY: apiKey } });
  assert.match(JSON.parse(stdout).choices[0].message.content, /Hello, tide/);
  ok("copied_call_runs");
}

/** Chosen out of the latest of the model; what differs stands first. */
async function requestsAreCompared(page, refused, answered) {
  await visit(page, `${origin}/requests/${refused}`);
  await page.getByRole("link", { name: "Compare", exact: true }).click();
  await page.waitForURL(/with=choose/);
  await page.locator(`a[href*="with=${answered}"]`).click();
  const rows = page.getByRole("table", { name: "Both requests" }).locator("tbody tr");
  await rows.first().waitFor();
  const facts = await rows.evaluateAll((all) => all.map((row) => [row.classList.contains("same"), ...[...row.cells].map((cell) => cell.textContent)]));
  const same = facts.map(([isSame]) => isSame);
  assert.deepEqual(same, same.toSorted(), "differences first");
  const of = (name) => facts.find(([, fact]) => fact === name).slice(2);
  const [left, right] = [await whole(refused), await whole(answered)];
  assert.deepEqual(of("Outcome"), [`${left.status} Refused`, `${right.status} Completed`]);
  assert.deepEqual(of("Error"), [left.error_code, "–"]);
  assert.deepEqual(of("Model"), ["echo", "echo"]);
  assert.deepEqual(of("Attempts"), ["0", String(right.attempts.length)]);
  await isForEveryone(page, "why-compared");
  await page.getByRole("button", { name: "Close" }).click();
  await page.waitForURL((url) => !url.searchParams.has("with"));
  ok("requests_are_compared");
}

const refusing = await serve(provider);
await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  const refused = await reasonComesFirst(page);
  await providersWordsAreTold(page, refusing.base);
  await similarFailuresAreFound(page, refused);
  const answered = await requestIsTriedAgain(page, refused);
  await copiedCallRuns(page, refused);
  await requestsAreCompared(page, refused, answered);
});
refusing.close();

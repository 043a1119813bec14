// A vendor's subscription by hand: sealed for a project with a capped window, rotated, switched off and on, and deleted; what serves
// follows each step.
//
// usage: node subscriptions.mjs ORIGIN ADMIN_KEY API_KEY BASE_URL TOKEN SECOND_TOKEN
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { chat, eventually, inBrowser, ok, signIn, v2, visit } from "./browser.mjs";
import { isForEveryone } from "./everyone.mjs";

const [origin, adminKey, apiKey, baseUrl, token, secondToken] = process.argv.slice(2);
const MINI = { model: "openai/gpt-4o-mini" };

const listed = async () => (await v2(origin, adminKey, "subscription-credentials")).data;
const profile = async () => {
  const { id, status } = await chat(origin, apiKey, MINI);
  assert.equal(status, 200);
  return eventually(async () => {
    const row = (await v2(origin, adminKey, "requests?limit=20")).data.find((one) => one.id === id);
    assert.ok(row);
    return row.profile;
  });
};

async function wrongWindowIsTold(page) {
  await visit(page, `${origin}/credentials`);
  await page.getByRole("link", { name: "Add a subscription" }).focus();
  await page.keyboard.press("Enter");
  const form = page.getByRole("dialog");
  await form.getByLabel("Product").fill("codex");
  await form.getByLabel("Token", { exact: true }).fill(token);
  await form.getByLabel("Base URL").fill(baseUrl);
  await form.getByLabel("Windows").fill("five hours");
  await form.getByRole("button", { name: "Save" }).click();
  await form.getByText("“five hours” isn’t a window.", { exact: false }).waitFor();
  assert.deepEqual(await listed(), []);
  await isForEveryone(page, "subscription-form");
  ok("wrong_window_is_told");
}

async function subscriptionIsSealed(page) {
  const form = page.getByRole("dialog");
  await form.getByLabel("Windows").fill("5h:requests=100");
  await form.getByLabel("Name").fill("Team plan");
  await form.getByRole("button", { name: "Save" }).click();
  await form.waitFor({ state: "detached" });
  await page.getByText("0 of 100 requests in 5 h").waitFor();
  const [one] = await listed();
  assert.equal(one.display_name, "Team plan");
  assert.ok(!(await page.content()).includes(token), "the token is not shown again");
  assert.equal(await profile(), "subscription");
  await isForEveryone(page, "subscriptions");
  ok("subscription_is_sealed");
}

async function tokenIsRotated(page) {
  const before = (await listed())[0];
  await page.getByRole("button", { name: "Rotate Team plan" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("New token").fill(secondToken);
  await form.getByRole("button", { name: "Rotate" }).click();
  await form.waitFor({ state: "detached" });
  const after = (await listed())[0];
  assert.equal(after.token_version, before.token_version + 1);
  assert.notEqual(after.token_fingerprint, before.token_fingerprint);
  await page.getByText(`${after.token_fingerprint} v${after.token_version}`).waitFor();
  assert.equal(await profile(), "subscription");
  ok("token_is_rotated");
}

async function subscriptionIsSwitchedAndDeleted(page) {
  await page.getByRole("button", { name: "Disable Team plan" }).click();
  await page.getByRole("button", { name: "Enable Team plan" }).waitFor();
  assert.equal((await chat(origin, apiKey, MINI)).status, 404, "one that is off counts as absent");
  await page.getByRole("button", { name: "Enable Team plan" }).click();
  await page.getByRole("button", { name: "Disable Team plan" }).waitFor();
  assert.equal(await profile(), "subscription");
  await page.getByRole("button", { name: "Delete Team plan" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Type “Team plan” to confirm").fill("Team plan");
  await form.getByRole("button", { name: "Delete" }).click();
  await form.waitFor({ state: "detached" });
  assert.deepEqual(await listed(), []);
  ok("subscription_is_switched_and_deleted");
}

await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  await wrongWindowIsTold(page);
  await subscriptionIsSealed(page);
  await tokenIsRotated(page);
  await subscriptionIsSwitchedAndDeleted(page);
});

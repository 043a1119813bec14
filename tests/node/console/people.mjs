// A person in the console: in by the link that the server printed, a password of their own, somebody invited, given another role
// and removed, a command line let in, and out again.
//
// usage: node people.mjs ORIGIN ADMIN_KEY API_KEY LINK
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { eventually, inBrowser, ok, violations, visit } from "./browser.mjs";

const [origin, , , link] = process.argv.slice(2);
const EMAIL = "ada@example.com";
const PASSWORD = "the tide waits for nobody";

async function inByLink(page) {
  await page.goto(link);
  await page.getByRole("heading", { level: 1, name: "Home" }).waitFor();
  await eventually(() => assert.ok(!page.url().includes("token"), "the link's secret leaves the address bar"));
  const kept = await page.evaluate(() => JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie);
  assert.ok(!/token|tidegate_session/.test(kept), "no script reads the session");
  ok("in_by_link");
}

async function setsAPassword(page) {
  await page.getByRole("button", { name: /you and this device/ }).click();
  await page.getByRole("link", { name: "Name, email, password" }).click();
  await page.getByRole("heading", { level: 1, name: "Your account" }).waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByLabel("Name").fill("Ada");
  await page.getByLabel("Email").fill(EMAIL);
  await page.getByLabel("Password", { exact: false }).first().fill(PASSWORD);
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("status").filter({ hasText: "Saved." }).waitFor({ state: "attached" });
  ok("sets_a_password");
}

async function outAndInAgain(page) {
  await page.getByRole("button", { name: /you and this device/ }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/\/sign-in/);
  await page.getByLabel("Email").fill(EMAIL);
  await page.getByLabel("Password").fill("not this one");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").waitFor();
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Your account" }).waitFor();
  ok("out_and_in_again");
}

async function invites(page, open) {
  await visit(page, `${origin}/members?new=1`);
  await page.getByRole("dialog").getByLabel("Email").fill("grace@example.com");
  await page.getByRole("dialog").getByLabel("Role").selectOption("viewer");
  await page.getByRole("dialog").getByRole("button", { name: "Invite" }).click();
  const invitation = await page.getByLabel("the invitation", { exact: true }).textContent();
  assert.ok(invitation?.startsWith(`${origin}/sign-in#token=`), invitation);
  await page.getByRole("button", { name: "Done" }).click();
  await page.getByRole("row").filter({ hasText: "grace@example.com" }).waitFor();
  assert.deepEqual(await violations(page), []);
  const guest = await open();
  // Pasted into the tab that shows the sign-in page: only the fragment of its address is new.
  await guest.goto(`${origin}/sign-in`);
  await guest.getByRole("heading", { level: 1, name: "Sign in to Tidegate" }).waitFor();
  await guest.goto(invitation);
  await guest.getByRole("heading", { level: 1, name: "Home" }).waitFor();
  await visit(guest, `${origin}/keys?new=1`);
  await guest.getByRole("dialog").getByLabel("Name").fill("not theirs to make");
  await guest.getByRole("button", { name: "Create", exact: true }).click();
  await guest.getByText(/You don’t have permission/).waitFor();
  await guest.context().close();
  ok("invites");
}

async function rolesAreGivenAndTaken(page, open) {
  await visit(page, `${origin}/members`);
  const row = page.getByRole("row").filter({ hasText: "grace@example.com" });
  const role = row.getByRole("combobox");
  await role.selectOption("billing");
  await page.getByRole("status").filter({ hasText: "grace@example.com is billing now." }).waitFor({ state: "attached" });
  // The last owner stays, and isn't shown as anything else.
  const own = page.getByRole("row").filter({ hasText: EMAIL });
  await own.getByRole("combobox").selectOption("viewer");
  await page.getByRole("alert").waitFor();
  await eventually(async () => assert.equal(await own.getByRole("combobox").inputValue(), "owner"));
  await row.getByRole("button", { name: "Sign-in link" }).click();
  const link = await page.getByLabel("the link", { exact: true }).textContent();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: "Done" }).click();
  const guest = await open();
  await guest.goto(link);
  await guest.getByRole("heading", { level: 1, name: "Home" }).waitFor();
  await visit(guest, `${origin}/billing`);
  await guest.getByText("Postpaid: invoiced monthly").waitFor();
  await visit(guest, `${origin}/audit`);
  await guest.getByText("You don’t have permission to view the audit.").waitFor();
  const again = await open();
  await again.goto(link);
  await again.getByRole("alert").waitFor();
  await again.context().close();
  await row.getByRole("button", { name: "Remove" }).click();
  await page.getByRole("dialog").getByRole("textbox").fill("grace@example.com");
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await row.waitFor({ state: "detached" });
  await guest.goto(`${origin}/usage`);
  await guest.waitForURL(/\/sign-in/);
  await guest.context().close();
  ok("roles_are_given_and_taken");
}

async function letsACommandLineIn(page) {
  const asked = await (await fetch(`${origin}/v2/device`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ client_name: "laptop" }) })).json();
  await page.goto(asked.verification_url_complete);
  await page.getByRole("heading", { level: 1, name: "Sign in a device" }).waitFor();
  await eventually(async () => assert.equal(await page.getByLabel("Code").inputValue(), asked.user_code));
  // Who asks is said before anybody says yes.
  await page.getByText("laptop").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: "Approve" }).click();
  await page.getByText("Approved. The command line is signed in.").waitFor();
  const answer = await fetch(`${origin}/v2/device/token`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ device_code: asked.device_code }) });
  assert.match((await answer.json()).api_key, /^tg_live_/);
  ok("lets_a_command_line_in");
}

await inBrowser(origin, async (open) => {
  const page = await open();
  await inByLink(page);
  await setsAPassword(page);
  await outAndInAgain(page);
  await invites(page, open);
  await rolesAreGivenAndTaken(page, open);
  await letsACommandLineIn(page);
});

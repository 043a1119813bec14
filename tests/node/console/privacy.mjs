// Legal holds, data exports and erasures in the console: each is begun, followed and ended by hand, refuses what it has to, and is in
// the audit; who may not manage them is offered none of it.
//
// usage: node privacy.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { eventually, inBrowser, ok, pictures, signIn, v2, violationsInThemes, visit } from "./browser.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);
const PERSON = "jo.heron@example.org";
/** More than a part of an archive holds. */
const LARGE = 1_400_000;

/** A session of a person, with a message in it. */
async function sessionOf(person, content) {
  const session = await send("POST", "sessions", { end_user: person }, apiKey);
  const events = `sessions/${session.id}/branches/${session.default_branch_id}/events`;
  await send("POST", events, { expected_version: 0, event: { event_type: "user_message", content } }, apiKey);
  return session.id;
}

async function status(path) {
  return (await fetch(`${origin}/v2/${path}`, { headers: { authorization: `Bearer ${adminKey}` } })).status;
}

const actsOn = async (id) => (await v2(origin, adminKey, `audit?target=${id}`)).data.map(({ action }) => action);
const heard = (page, text) => page.getByRole("status").filter({ hasText: text }).waitFor({ state: "attached" });

/** In both themes, on a desk and on a phone: no violation, and nothing wider than the screen. */
async function looksRight(page, name) {
  await pictures(page, name);
  assert.deepEqual(await violationsInThemes(page), [], name);
  await page.setViewportSize({ width: 390, height: 844 });
  await pictures(page, `${name}-390`);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, `${name} is wider than a phone`);
  await page.setViewportSize({ width: 1280, height: 860 });
}

async function hold(page, scope, reason) {
  await page.getByRole("link", { name: "New hold" }).click();
  const form = page.getByRole("dialog", { name: "New hold" });
  for (const [label, value] of Object.entries(scope)) {
    const field = form.getByLabel(label, { exact: true });
    if (await field.evaluate((one) => one.localName === "select")) await field.selectOption(value);
    else await field.fill(value);
  }
  await form.getByLabel("Reason").fill(reason);
  return form;
}

async function holdsAreAddedAndReleased(page, project, sessions) {
  await visit(page, `${origin}/legal-holds`);
  await page.getByText("No legal holds.").waitFor();
  const form = await hold(page, { What: "project", Project: project.id }, "Heron v. Crane");
  await looksRight(page, "legal-holds-new");
  await form.getByRole("button", { name: "Create hold" }).press("Enter");
  await heard(page, "The hold is in force.");
  await page.getByRole("link", { name: "Project heron" }).waitFor();
  await (await hold(page, { What: "sessions", "Session ids": sessions.join("\n") }, "A long reason that tells in which matter, before which court and by whose word these sessions are kept, so that it has to wrap")).getByRole("button", { name: "Create hold" }).click();
  await (await hold(page, { What: "workspace" }, "Everything, for the auditors")).getByRole("button", { name: "Create hold" }).click();
  const rows = page.locator("tbody tr");
  await eventually(async () => assert.equal(await rows.count(), 3));
  const [whole, some, one] = (await v2(origin, adminKey, "legal-holds")).data;
  assert.deepEqual([whole.workspace, some.session_ids, one.project_id, one.reason], [true, sessions, project.id, "Heron v. Crane"]);
  await looksRight(page, "legal-holds");

  // What is held is not erased: the refusal leads to the holds, and tells its request.
  await visit(page, `${origin}/erasures?new=1`);
  await page.getByLabel("Who").selectOption("workspace");
  await page.getByRole("button", { name: "Count first" }).click();
  const refusal = page.getByRole("dialog").getByRole("alert");
  await refusal.waitFor();
  assert.match(await refusal.innerText(), /legal_hold[^]*trc_/);
  await looksRight(page, "erasures-held");
  await refusal.getByRole("link", { name: "View legal holds" }).click();
  await page.getByRole("heading", { level: 1, name: "Legal holds" }).waitFor();

  const { name } = (await v2(origin, adminKey, "workspaces")).data[0];
  for (const [held, typed] of [["The whole workspace", name], ["Project heron", "heron"], ["2 sessions", undefined]]) {
    const opener = page.getByRole("button", { name: new RegExp(`^Release ${held}`) });
    await opener.click();
    const confirm = page.getByRole("dialog", { name: "Release hold" });
    const release = confirm.getByRole("button", { name: "Release", exact: true });
    if (typed === undefined) {
      await looksRight(page, "legal-holds-release");
    } else {
      assert.ok(await release.isDisabled(), `${held} is released by its name alone`);
      await confirm.getByLabel(/^Type/).fill(typed);
    }
    await release.click();
    await opener.waitFor({ state: "detached" });
  }
  assert.equal(await page.getByRole("rowheader", { name: /released/ }).count(), 3, "what was released stays in the list");
  for (const { id } of [whole, some, one]) assert.deepEqual(await actsOn(id), ["legal_hold.release", "legal_hold.create"]);
  ok("holds_are_added_and_released");
}

const newest = async () => (await v2(origin, adminKey, "data-exports")).data[0];

/** The archive as the API gives it. */
async function archiveOf({ id, parts }) {
  const bytes = [];
  for (let part = 1; part <= parts; part += 1) {
    const answer = await fetch(`${origin}/v2/data-exports/${id}/content?part=${part}`, { headers: { authorization: `Bearer ${adminKey}` } });
    bytes.push(Buffer.from(await answer.arrayBuffer()));
  }
  return Buffer.concat(bytes);
}

async function exportsAreMadeSavedAndDeleted(page, project) {
  await send("POST", "artifacts", { type: "document", content: "heron ".repeat(LARGE / 6), project_id: project.id });
  await visit(page, `${origin}/data-exports`);
  await page.getByText("No exports yet.").waitFor();
  await page.getByRole("link", { name: "New export" }).click();
  await looksRight(page, "data-exports-new");
  await page.getByRole("button", { name: "Export", exact: true }).click();
  await page.getByRole("button", { name: /^Download The whole workspace/ }).waitFor();
  const made = await newest();
  assert.ok(made.parts > 1 && made.format === "jsonl" && made.project_id === null, JSON.stringify(made));
  assert.match(await page.locator("tbody tr").innerText(), /completed[^]*deleted in [67] d[^]*files[^]*MB/);

  // A download is seen part by part, and can be stopped.
  let giveSecond;
  const second = new Promise((resolve) => (giveSecond = resolve));
  await page.route(/content\?part=2$/, async (route) => {
    await second;
    await route.continue().catch(() => undefined);
  });
  await page.getByRole("button", { name: /^Download/ }).click();
  const bar = page.getByRole("progressbar", { name: /^Progress of the download/ });
  await eventually(async () => assert.equal(await bar.getAttribute("aria-valuenow"), "1"));
  assert.equal(await bar.getAttribute("aria-valuemax"), String(made.parts));
  await looksRight(page, "data-exports-download");
  await page.getByRole("button", { name: /^Stop/ }).click();
  await heard(page, "The download was stopped.");
  giveSecond();
  await page.unrouteAll({ behavior: "ignoreErrors" });
  assert.equal(await page.getByRole("alert").count(), 0, "what was stopped did not fail");
  const coming = page.waitForEvent("download");
  await page.getByRole("button", { name: /^Download/ }).click();
  const download = await coming;
  assert.equal(download.suggestedFilename(), `tidegate-${made.id}.tar`);
  const path = await download.path();
  assert.ok((await readFile(path)).equals(await archiveOf(made)), "the parts stand one after the other");
  const names = execFileSync("tar", ["tf", path], { encoding: "utf8" }).trim().split("\n");
  assert.ok(names.includes("manifest.json") && names.includes("projects.jsonl"), names.join());
  await page.getByRole("link", { name: /files of The whole workspace/ }).click();
  const files = page.getByRole("table", { name: "Files" });
  assert.deepEqual(await files.locator("tbody th").allInnerTexts(), made.files.map((file) => file.name));
  await looksRight(page, "data-exports-files");
  await page.keyboard.press("Escape");

  await page.getByRole("link", { name: "New export" }).click();
  await page.getByLabel("What").selectOption({ label: "Project heron" });
  await page.getByLabel("Format").selectOption("parquet");
  await page.getByRole("button", { name: "Export", exact: true }).click();
  await page.getByRole("button", { name: /^Download Project heron/ }).waitFor();
  const ofProject = await newest();
  assert.deepEqual([ofProject.format, ofProject.project_id], ["parquet", project.id]);
  await looksRight(page, "data-exports");
  await page.getByRole("button", { name: /^Delete The whole workspace/ }).click();
  await page.getByRole("dialog").getByText("can no longer be downloaded").waitFor();
  await looksRight(page, "data-exports-delete");
  await page.getByRole("dialog").getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("button", { name: /^Delete The whole workspace/ }).waitFor({ state: "detached" });
  assert.deepEqual([await status(`data-exports/${made.id}`), await status(`data-exports/${ofProject.id}`)], [404, 200]);
  const acts = await actsOn(made.id);
  assert.deepEqual([acts[0], acts.at(-1)], ["data_export.delete", "data_export.create"]);
  assert.ok(acts.includes("data_export.read"), acts.join());
  ok("exports_are_made_saved_and_deleted");
}

/** Counts first, then erases, and waits until the page says that it is over. */
async function erase(page, typed, name) {
  const form = page.getByRole("dialog", { name: "New erasure" });
  await form.getByLabel(/./).last().press("Enter");
  await form.getByText(/^This will permanently erase/).waitFor();
  const confirm = form.getByLabel(/^Type/);
  assert.ok(await confirm.evaluate((one) => one === document.activeElement), "the keyboard goes on where something is to be typed");
  assert.ok(await form.getByRole("button", { name: "Erase", exact: true }).isDisabled());
  await looksRight(page, name);
  await confirm.fill(typed);
  await confirm.press("Enter");
  await page.getByRole("dialog", { name: /^Erasure/ }).getByText("completed").waitFor();
}

async function peopleAreErased(page, theirs, other) {
  await visit(page, `${origin}/erasures`);
  await page.getByText("No erasures yet.").waitFor();
  await page.getByRole("link", { name: "New erasure" }).click();
  await page.getByLabel("End user").fill("nobody@example.org");
  await page.getByRole("button", { name: "Count first" }).click();
  await page.getByRole("dialog").getByRole("alert").getByText("not_found").waitFor();
  await page.getByLabel("End user").fill(PERSON);
  const before = await v2(origin, adminKey, "purge-jobs");
  const counted = page.waitForResponse((answer) => answer.url().includes("dry_run=true"));
  const erasing = erase(page, "erase", "erasures-counted");
  const { erased, places } = await (await counted).json();
  assert.ok(erased.sessions === 2 && places.some((one) => one.before >= 2), JSON.stringify(places));
  assert.deepEqual(await v2(origin, adminKey, "purge-jobs"), before, "a count erases nothing");
  await erasing;
  const view = page.getByRole("dialog", { name: /^Erasure/ });
  await view.getByText("they are the books").waitFor();
  await looksRight(page, "erasures-view");
  for (const id of theirs) assert.equal(await status(`sessions/${id}`), 404);
  assert.equal(await status(`sessions/${other}`), 200, "another person's stays");
  assert.ok(!page.url().includes("jo.heron"), "the person's name is not in the address");

  const [purge] = (await v2(origin, adminKey, "purge-jobs")).data;
  await view.getByRole("button", { name: "Receipt" }).click();
  const receipt = page.getByRole("dialog", { name: "Receipt" });
  await receipt.getByText(/Verified: signed by this installation/).waitFor();
  await looksRight(page, "erasures-receipt");
  const coming = page.waitForEvent("download");
  await receipt.getByRole("button", { name: "Save the receipt" }).click();
  const saved = JSON.parse(await readFile(await (await coming).path(), "utf8"));
  assert.deepEqual(saved, await v2(origin, adminKey, `purge-jobs/${purge.id}/receipt`));
  await page.keyboard.press("Escape");
  await view.waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "2 sessions" }).waitFor();
  assert.deepEqual(await actsOn(purge.id), ["purge.complete", "purge.request"]);

  await page.getByRole("link", { name: "New erasure" }).click();
  await page.getByLabel("Who").selectOption("sessions");
  await page.getByLabel("Session ids").fill(other);
  await page.getByRole("button", { name: "Count first" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByText(/of 1 session:/).waitFor();
  // What is counted is what is erased: another scope is counted anew.
  await page.getByLabel("Who").selectOption("workspace");
  await page.getByRole("button", { name: "Count first" }).click();
  const { name } = (await v2(origin, adminKey, "workspaces")).data[0];
  const typed = page.getByLabel(`Type “${name}” to confirm`);
  const button = page.getByRole("button", { name: "Erase", exact: true });
  await typed.fill("erase");
  assert.ok(await button.isDisabled(), "a workspace is erased by its name alone");
  await typed.fill(name);
  await button.click();
  await page.getByRole("dialog", { name: /^Erasure/ }).getByText("completed").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "The whole workspace" }).waitFor();
  assert.equal(await status(`sessions/${other}`), 404);
  await looksRight(page, "erasures");
  ok("people_are_erased_after_a_count");
}

async function whoMayNotIsOfferedNothing(page) {
  const { key } = await send("POST", "api-keys", { name: "reader", scopes: ["read"] });
  await signIn(page, origin, key);
  for (const [path, what] of [["/legal-holds?new=1", "legal holds"], ["/data-exports?new=1", "data exports"]]) {
    await visit(page, origin + path);
    await page.getByText(`You don’t have permission to view ${what}.`).waitFor();
    assert.equal(await page.locator('dialog, main a[href*="new="]').count(), 0, path);
    assert.deepEqual(await violationsInThemes(page), [], path);
  }
  await visit(page, `${origin}/erasures?new=1`);
  await page.getByRole("button", { name: /^Receipt of 2 sessions/ }).click();
  const receipt = page.getByRole("dialog", { name: "Receipt" });
  await receipt.waitFor();
  await page.keyboard.press("Escape");
  // A closed dialog has no role any more, and is in the document for a moment longer.
  await page.locator("dialog").waitFor({ state: "detached" });
  assert.equal(await page.locator('dialog, main a[href*="new="], main a[href*="show="]').count(), 0, "an erasure is seen, and not begun");
  await looksRight(page, "erasures-reader");
  ok("who_may_not_is_offered_nothing");
}

const project = await send("POST", "projects", { name: "heron" });
const theirs = [await sessionOf(PERSON, "first"), await sessionOf(PERSON, "second")];
const other = await sessionOf("crane", "third");
await inBrowser(origin, async (open) => {
  const page = await open({ acceptDownloads: true });
  await signIn(page, origin, adminKey);
  await holdsAreAddedAndReleased(page, project, theirs);
  await exportsAreMadeSavedAndDeleted(page, project);
  await peopleAreErased(page, theirs, other);
  const reader = await open();
  await whoMayNotIsOfferedNothing(reader);
});

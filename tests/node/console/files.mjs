// Files in the console: uploaded in parts over a break, found, downloaded as they were, and deleted.
//
// usage: node files.mjs ORIGIN ADMIN_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { eventually, inBrowser, ok, pictures, signIn, v2, violationsInThemes, visit } from "./browser.mjs";

const [origin, adminKey] = process.argv.slice(2);
const MIB = 1024 * 1024;
/** More than one part, and more than one piece. */
const LONG = Buffer.alloc(9 * MIB + 7, "tide and gate ");

const files = async () => (await v2(origin, adminKey, "files")).data;

async function look(page, name) {
  await pictures(page, name);
  assert.deepEqual(await violationsInThemes(page), []);
  await page.setViewportSize({ width: 390, height: 844 });
  await pictures(page, `${name}-390`);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `${name} is ${width} px wide`);
  await page.setViewportSize({ width: 1280, height: 860 });
}

async function pick(page, picked) {
  await page.getByRole("link", { name: "Upload files" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Files").setInputFiles(picked);
  await form.getByRole("button", { name: "Upload" }).click();
}

async function upload(page) {
  await page.getByText("No files yet.").waitFor();
  await look(page, "files-new");
  // The second part breaks off once, and the server is asked how far it is.
  const parts = [];
  await page.route(/\/files\/fil_\w+\/upload\//, async (route) => {
    const range = route.request().headers()["content-range"] ?? "whole";
    parts.push(range);
    if (range.startsWith(`bytes ${8 * MIB}-`) && parts.filter((one) => one === range).length === 1) await route.abort();
    else await route.continue();
  });
  await pick(page, [{ name: "long.txt", mimeType: "text/plain", buffer: LONG }, { name: "empty.txt", mimeType: "text/plain", buffer: Buffer.alloc(0) }]);
  await page.getByRole("progressbar", { name: "Progress of the upload of long.txt" }).waitFor();
  await page.getByRole("rowheader", { name: /^long\.txt/ }).waitFor();
  await page.getByRole("rowheader", { name: /^empty\.txt/ }).waitFor();
  await eventually(async () => assert.equal(await page.getByRole("region", { name: "Uploads" }).count(), 0));
  const last = `bytes ${8 * MIB}-${LONG.length - 1}/${LONG.length}`;
  assert.deepEqual(parts.slice(0, 4), [`bytes 0-${8 * MIB - 1}/${LONG.length}`, last, `bytes */${LONG.length}`, last]);
  assert.deepEqual((await files()).map(({ filename, bytes, status }) => [filename, bytes, status]).sort(), [["empty.txt", 0, "uploaded"], ["long.txt", LONG.length, "uploaded"]]);
  await page.unrouteAll({ behavior: "ignoreErrors" });
  const used = page.getByRole("region", { name: "Storage used" });
  await used.getByText(/ of .*, 2 files$/).waitFor();
  const [storage] = (await v2(origin, adminKey, "file-storage")).data;
  assert.deepEqual([storage.files, storage.bytes], [2, LONG.length]);
  await look(page, "files");
  ok("files_are_uploaded_over_a_break");
}

async function refuse(page) {
  await pick(page, [{ name: "tide.png", mimeType: "image/png", buffer: Buffer.from("no picture") }]);
  await page.getByRole("alert").getByText("file_type_mismatch").waitFor();
  await pictures(page, "files-refused");
  assert.deepEqual(await violationsInThemes(page), []);
  await page.getByRole("button", { name: "Remove tide.png" }).click();
  assert.equal(await page.getByRole("region", { name: "Uploads" }).count(), 0);
  ok("what_is_refused_is_told_beside_it");
}

async function find(page) {
  const box = page.getByRole("searchbox", { name: "Filter these files" });
  await box.fill("LONG");
  await page.getByText("1 of 2 files shown").waitFor();
  assert.equal(await page.getByRole("row").count(), 2);
  assert.equal(new URL(page.url()).searchParams.get("find"), "LONG");
  await box.fill("nothing like it");
  await page.getByText("No files match.").waitFor();
  await page.getByRole("link", { name: "Clear the filter" }).click();
  await page.getByRole("rowheader", { name: /^empty\.txt/ }).waitFor();
  ok("files_are_found");
}

async function take(page) {
  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download long.txt" }).click();
  const saved = await saving;
  assert.equal(saved.suggestedFilename(), "long.txt");
  assert.ok(LONG.equals(await readFile(await saved.path())));
  ok("a_file_is_downloaded_as_it_was");
}

async function drop(page) {
  for (const name of ["long.txt", "empty.txt"]) {
    await page.getByRole("button", { name: `Delete ${name}` }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await page.getByRole("rowheader", { name: new RegExp(`^${name}`) }).waitFor({ state: "detached" });
  }
  await page.getByText("No files yet.").waitFor();
  assert.deepEqual(await files(), []);
  ok("files_are_deleted_after_a_question");
}

await inBrowser(origin, async (open) => {
  const page = await open();
  await visit(page, `${origin}/sign-in`);
  await signIn(page, origin, adminKey);
  await visit(page, `${origin}/uploads`);
  for (const step of [upload, refuse, find, take, drop]) await step(page);
});

// What a screen reader is told of the telling pages, beside what was read once and found clear: aria/*.yml.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";

const FOLDER = new URL("aria/", import.meta.url);
const isUpdating = process.env.UPDATE_DOCS !== undefined;

/** What differs from run to run: where links lead, ids, keys, moments, and numbers that stand alone. */
const VOLATILE = [
  [/^ *- \/url: .*\n/gm, ""],
  // What needs attention comes when it is found out, and which axis is usual depends on how fast the machine was.
  [/^( *)- region "Needs attention":\n(\1 .*\n)*/gm, ""],
  // A step that took less than a microsecond isn't a step.
  [/^( *)- row "(Stream|Settle) .*\n(\1 .*\n)*/gm, ""],
  [/(button "Log axis[^"]*") \[pressed\]/g, "$1"],
  [/\b[a-z]{3,4}_[0-9a-z]{20,}\b/g, "ID"],
  [/\btg_live_\w+/g, "KEY"],
  [/…\w{4}\b/g, "…LAST"],
  [/https?:\/\/(127\.0\.0\.1|localhost):\d+/g, "ORIGIN"],
  [/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "MOMENT"],
  [/\b(\d{1,2} )?(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b( \d{1,2}\b)?/g, "DAY"],
  [/\bjust now\b|\b\d+ (s|min|h) ago\b/g, "AGO"],
  [/(?<![A-Za-z=\d.])\d[\d,.:]*( ?(µs|ms|s|min|h|d)\b|(?![A-Za-z\d]))/g, "N"],
  [/\bDAY[ :]N\b/g, "N"],
];

/** The main part of a page as a tree of roles and names, without what is volatile. */
async function readOut(page) {
  const tree = await page.locator("main").ariaSnapshot();
  return VOLATILE.reduce((text, [what, by]) => text.replaceAll(what, by), `${tree}\n`).replaceAll(/:$/gm, "");
}

/** What a page says now and did not say, or says no more; with `UPDATE_DOCS=1` it is kept instead. */
export async function readsOtherwise(page, name) {
  const file = new URL(`${name}.yml`, FOLDER);
  const now = await readOut(page);
  if (isUpdating) {
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(file, now);
    return [];
  }
  const kept = existsSync(file) ? readFileSync(file, "utf8") : "";
  if (kept === now) return [];
  const [before, after] = [kept, now].map((text) => text.split("\n"));
  const found = [...before.filter((line) => !after.includes(line)).map((line) => `- ${line}`), ...after.filter((line) => !before.includes(line)).map((line) => `+ ${line}`)];
  return [`aria/${name}.yml (run with UPDATE_DOCS=1, and read it)`, ...(found.length > 0 ? found : ["the same lines in another order"])];
}

// Everything by the keyboard alone, on every page: each control is reached, in order, seen, named, not covered and not a trap; each
// dialog takes the keyboard, keeps it, and gives it back.
//
// usage: node keyboard.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { eventually, inBrowser, ok, signIn, v2, visit } from "./browser.mjs";
import { populate, send } from "./traffic.mjs";

const [origin, adminKey] = process.argv.slice(2);

const PAGES = ["/", "/requests", "/usage", "/caches", "/upstreams", "/projects", "/policies", "/commitments", "/alerts", "/webhooks", "/models?find=claude", "/models/openai%2Fgpt-5.6-sol", "/capabilities", "/capabilities?provider=xai", "/playground", "/playground?model=echo&model=tide", "/connect", "/keys", "/credentials", "/accounts", "/nodes", "/training", "/routes?model=echo", "/aliases", "/budgets", "/limits", "/settings", "/billing", "/reconciliation", "/replays", "/workers", "/hardware", "/data-planes", "/members", "/audit", "/erasures", "/legal-holds", "/data-exports", "/account", "/device"];
const DIALOGS = ["/keys?new=1", "/credentials?new=openai", "/credentials?subscribe=1", "/nodes?new=1", "/nodes?invite=1", "/training?new=1", "/routes?edit=new", "/aliases?new=1", "/policies?edit=new", "/projects?new=1", "/budgets?new=1", "/limits?edit=workspace", "/members?new=1", "/alerts?edit=new", "/webhooks?new=1", "/erasures?new=1", "/legal-holds?new=1", "/data-exports?new=1", "/data-planes?new=1"];
const STOPS_MAX = 250;

/** What has the keyboard now, and what is wrong with how that looks. */
function focused() {
  const one = document.activeElement;
  if (!one || one === document.body) return undefined;
  const box = one.getBoundingClientRect();
  const style = getComputedStyle(one);
  const frame = one.parentElement ? getComputedStyle(one.parentElement) : style;
  const seen = style.outlineStyle !== "none" || frame.outlineStyle !== "none";
  const [x, y] = [box.left + Math.min(box.width, innerWidth) / 2, box.top + Math.min(box.height, 40) / 2];
  const top = document.elementFromPoint(x, y);
  const label = one.labels?.[0]?.textContent ?? "";
  const name = (one.getAttribute("aria-label") ?? (label || one.textContent || one.getAttribute("placeholder") || "")).trim();
  const wrong = [];
  if (!seen) wrong.push("no focus ring");
  if (name === "" && !one.getAttribute("aria-labelledby")) wrong.push("no name");
  if (box.bottom <= 0 || box.top >= innerHeight || box.right <= 0 || box.left >= innerWidth) wrong.push("off the screen");
  else if (top && !one.contains(top) && !top.contains(one) && !one.closest("label")?.contains(top) && box.width > 2) wrong.push(`covered by ${top.outerHTML.slice(0, 80)}`);
  one.dataset.reached = "";
  return { html: one.outerHTML.slice(0, 140), wrong };
}

/** Whether the page is set in the font that the console brings. */
const hasOwnFont = (page) => page.evaluate(() => document.fonts.ready.then((fonts) => [...fonts].some((font) => font.status === "loaded")));

const CONTROLS = 'a[href], button, input, select, textarea, summary, [tabindex="0"]';

/** Gives each control the focus, in turn, and looks at it. */
function focusEach([controls, look]) {
  const found = [];
  for (const one of document.querySelectorAll(controls)) {
    if (one.tabIndex < 0 || one.disabled || !one.checkVisibility({ visibilityProperty: true })) continue;
    one.focus();
    if (document.activeElement === one) found.push(look());
  }
  return found;
}

/** Controls that the eye sees and the keyboard did not come to. */
function unreached(selector) {
  const controls = document.querySelectorAll(selector);
  const radios = (one) => one.type === "radio" && document.querySelector(`input[name="${one.name}"][data-reached]`);
  return [...controls].filter((one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility({ visibilityProperty: true }) && !("reached" in one.dataset) && !radios(one)).map((one) => one.outerHTML.slice(0, 140));
}

/** Where the keyboard is, seen at one moment: in the dialog, with the browser itself (past either end), or elsewhere. */
function place() {
  const one = document.activeElement;
  if (document.querySelector("dialog")?.contains(one)) return { at: "inside", tag: one.tagName, html: one.outerHTML.slice(0, 140) };
  return { at: !one || one === document.body ? "browser" : "elsewhere", html: one?.outerHTML.slice(0, 140) };
}

/** The frame is the same on each page: on all but the first, the link at its start skips it. */
async function walk(page, path, isFirst) {
  const wrong = [];
  await page.evaluate(() => document.activeElement?.blur?.());
  if (!isFirst) {
    await page.keyboard.press("Tab");
    assert.match((await page.evaluate(focused))?.html ?? "nothing", /^<a class="skip/, path);
    await page.keyboard.press("Enter");
  }
  let stops = 0;
  for (; stops < STOPS_MAX; stops += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(focused);
    if (!at) break;
    for (const one of at.wrong) wrong.push(`${path}: ${one}: ${at.html}`);
  }
  assert.ok(stops < STOPS_MAX, `${path}: the keyboard does not come out of the page`);
  const looked = isFirst ? CONTROLS : CONTROLS.split(", ").map((one) => `main ${one}`).join(", ");
  for (const one of await page.evaluate(unreached, looked)) wrong.push(`${path}: never reached: ${one}`);
  return wrong;
}

/** The order is that of the page whatever its font, so here the keyboard leads to the first control, and a script to the others. */
async function walkByScript(page, path) {
  await page.keyboard.press("Tab");
  const found = await page.evaluate(`(${focusEach})([${JSON.stringify(CONTROLS)}, ${focused}])`);
  assert.ok(found.length > 5, `${path}: ${found.length} controls`);
  const wrong = found.flatMap((at) => at.wrong.map((one) => `${path}: ${one}: ${at.html}`));
  for (const one of await page.evaluate(unreached, CONTROLS)) wrong.push(`${path}: never reached: ${one}`);
  return wrong;
}

async function everyControlIsReached(page, held, reach) {
  const { data } = await v2(origin, adminKey, "requests?limit=1");
  const wrong = [];
  for (const path of [...PAGES, `/requests/${data[0].id}`]) {
    await visit(page, origin + path);
    wrong.push(...(await reach(page, path, path === PAGES[0])));
  }
  assert.deepEqual(wrong, []);
  ok(held);
}

async function everyDialogGivesTheKeyboardBack(page) {
  for (const path of DIALOGS) {
    const [base, query] = path.split("?");
    await visit(page, origin + base);
    const opener = page.locator(`main a[href*="${query.split("=")[0]}="]`).first();
    await opener.focus();
    await page.keyboard.press("Enter");
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    const first = await page.evaluate(place);
    assert.equal(first.at, "inside", `${path}: the dialog has the keyboard, not ${first.html}`);
    assert.ok(["INPUT", "SELECT", "TEXTAREA"].includes(first.tag), `${path}: it begins at the first thing to fill in, not at ${first.html}`);
    for (let presses = 0; presses < 60; presses += 1) {
      await page.keyboard.press("Tab");
      const { at, html } = await page.evaluate(place);
      assert.notEqual(at, "elsewhere", `${path}: the keyboard leaves the dialog for ${html}`);
    }
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    // Closed is closed in the address, too.
    await page.waitForURL((url) => !url.searchParams.has(query.split("=")[0]));
    await eventually(async () => {
      const now = await opener.evaluate((one) => (one === document.activeElement ? undefined : (document.activeElement?.outerHTML.slice(0, 140) ?? "nothing")));
      assert.equal(now, undefined, `${path}: the keyboard is where it was`);
    });
  }
  ok("every_dialog_gives_the_keyboard_back");
}

async function lettersLead(page) {
  await visit(page, `${origin}/`);
  for (const [letter, heading] of Object.entries({ r: "Requests", u: "Usage", w: "Webhooks", l: "Models", x: "Capabilities", p: "Playground", c: "Connect", k: "Keys", e: "Credentials", s: "Accounts", n: "Nodes", j: "Training", t: "Routes", f: "Aliases", b: "Budgets", i: "Billing", m: "Members", a: "Audit", o: "Home" })) {
    // The letter has to follow within a second, which a busy browser may not manage at once.
    await eventually(async () => {
      await page.locator("body").press("g");
      await page.locator("body").press(letter);
      await page.getByRole("heading", { level: 1, name: heading, exact: true }).waitFor({ timeout: 5_000 });
    });
  }
  // Who doesn't want letters to act turns them off, and they are off after the next visit too.
  await page.getByRole("button", { name: /you and this device/ }).click();
  await page.getByLabel("Single-letter shortcuts").uncheck();
  await page.keyboard.press("Escape");
  await page.reload();
  await page.getByRole("heading", { level: 1, name: "Home" }).waitFor();
  await page.locator("body").press("?");
  await page.locator("body").press("g");
  await page.locator("body").press("r");
  await page.waitForTimeout(200);
  assert.equal(await page.getByRole("dialog").count(), 0);
  assert.ok(page.url().endsWith("/"), page.url());
  ok("letters_lead_and_can_be_turned_off");
}

await populate();
await send("POST", "budgets", { workspace: true, limit_micros: 5_000_000 });
await send("POST", "alert-rules", { metric: "requests", threshold: 1_000 });
await send("POST", "routes", { scope: { environment: "staging" }, profiles: ["byoc"] });
await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  await everyControlIsReached(page, "every_control_is_reached", walk);
  const other = await open({ withoutFont: true });
  await signIn(other, origin, adminKey);
  assert.deepEqual([await hasOwnFont(page), await hasOwnFont(other)], [true, false]);
  await everyControlIsReached(other, "every_control_is_reached_in_another_font", walkByScript);
  await everyDialogGivesTheKeyboardBack(page);
  await lettersLead(page);
});

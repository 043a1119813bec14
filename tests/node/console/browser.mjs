// A real browser on the console, with what every journey checks: nothing foreign is asked for, nothing is refused by
// the content policy, nothing throws.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The first has no windows and starts in a third of the time. */
const BROWSERS = ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"];

/** Whether each page is seen in every size, state and theme, which takes a quarter of an hour, and not in some by turns: by `TIDEGATE_WHOLE=1`, and for pictures. */
export const IS_WHOLE = Boolean(process.env.TIDEGATE_WHOLE ?? process.env.TIDEGATE_SCREENSHOTS);

/** Whose turn it is where not everything is seen in each run: by the day (UTC), so that in a month everything is, or by `TIDEGATE_TURN`. */
export const TURN = Number(process.env.TIDEGATE_TURN ?? Math.floor(Date.now() / 86_400_000));
console.error(`TIDEGATE_TURN=${TURN}`);

export function ok(name) {
  console.log("ok", name);
}

/** How much slower each page is made on purpose: `TIDEGATE_SLOW_BROWSER=6` finds what leans on a fast machine. */
const SLOWED = Number(process.env.TIDEGATE_SLOW_BROWSER ?? 1);
/** The most that is waited for anything; it costs nothing where things go well. */
const WITHIN_MS = 30_000 * Math.max(1, SLOWED / 2);

/** Waits until a check holds; what it last failed of is thrown where it never does. */
export async function eventually(check) {
  const until = Date.now() + WITHIN_MS;
  for (;;) {
    try {
      return await check();
    } catch (failure) {
      if (Date.now() > until) throw failure;
      await new Promise((resume) => setTimeout(resume, 50));
    }
  }
}

/** Weeks and months begin at midnight UTC, and their sums start again: a look that fails because of that is repeated. */
export async function withinADay(look) {
  const day = () => Math.floor(Date.now() / 86_400_000);
  const began = day();
  try {
    return await look();
  } catch (failure) {
    if (day() === began) throw failure;
    return look();
  }
}

/** A time zone in which it is noon now, so that no journey meets a midnight: rows of an earlier day also show the date, which takes room from other columns. */
const AT_NOON = (() => {
  const past = new Date().getUTCHours() - 12;
  return `Etc/GMT${past < 0 ? "" : "+"}${past}`;
})();

/** What each page has asked the server and not been answered yet. */
const underWay = new WeakMap();

/** Runs a journey in a browser of its own, and looks at what the page complained of. */
export async function inBrowser(origin, journey) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? BROWSERS.find((path) => existsSync(path)),
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  const foreign = [];
  const complaints = [];
  /** `withoutFont` is a browser that doesn't get the console's own font and takes one of the machine's. */
  async function open({ withoutFont = false, ...options } = {}) {
    // Numbers and dates follow the browser's languages, and journeys read American ones.
    // Without motion, a page that waits is not drawn sixty times a second by a processor that the gateway could use.
    const context = await browser.newContext({ locale: "en-US", timezoneId: AT_NOON, viewport: { width: 1280, height: 860 }, reducedMotion: "reduce", ...options });
    context.setDefaultTimeout(WITHIN_MS);
    if (withoutFont) await context.route("**/*.woff2", (route) => route.abort());
    // Also the tabs that a journey opens later.
    if (SLOWED > 1) context.on("page", (page) => void slow(context, page));
    const page = await context.newPage();
    const asked = new Set();
    underWay.set(page, asked);
    page.on("requestfinished", (request) => asked.delete(request));
    page.on("requestfailed", (request) => asked.delete(request));
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (request.resourceType() === "fetch") asked.add(request);
      if (url.origin !== origin && !["blob:", "data:"].includes(url.protocol)) foreign.push(request.url());
    });
    page.on("response", async (response) => {
      if (response.status() !== 400) return;
      // The page may be gone before it is read.
      const text = await response.text().catch(() => "");
      if (text.includes("isn't a parameter of this path")) complaints.push(`${response.url()}: ${text}`);
    });
    page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error.message}`));
    page.on("console", (message) => {
      if (/Content Security Policy|Trusted Type/i.test(message.text())) complaints.push(message.text());
    });
    return page;
  }
  try {
    await journey(open);
    assert.deepEqual(foreign, [], "everything comes from the server itself");
    assert.deepEqual(complaints, []);
  } finally {
    await browser.close();
  }
}

async function slow(context, page) {
  const devtools = await context.newCDPSession(page);
  await devtools.send("Emulation.setCPUThrottlingRate", { rate: SLOWED });
}

/** Signs in with a key, as a person does. */
export async function signIn(page, origin, key) {
  await page.goto(`${origin}/sign-in?with=key`);
  await page.getByLabel("API key").fill(key);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Home" }).waitFor();
}

/** Loads a page, and waits until it shows its heading, is busy nowhere and has an answer to whatever it asked. */
export async function visit(page, href) {
  underWay.get(page)?.clear(); // what the page before asked is answered to nobody
  await page.goto(href);
  await isSettled(page, href);
}

/** Goes to a page as a link in the console does, which loads nothing twice and takes a fraction of the time, and waits like `visit`. */
export async function follow(page, href) {
  await turnTo(page, href);
  await isSettled(page, href);
}

/** Goes to a page as a link in the console does. */
export async function turnTo(page, href) {
  underWay.get(page)?.clear();
  await page.evaluate((to) => {
    const link = document.body.appendChild(document.createElement("a"));
    link.setAttribute("href", to);
    link.click();
    link.remove();
    return new Promise((resume) => requestAnimationFrame(() => requestAnimationFrame(resume)));
  }, href);
}

async function isSettled(page, href) {
  await page.locator("h1[data-page-start]").waitFor();
  await eventually(async () => {
    // Two frames: what an answer changes is drawn, and what it leads the page to ask is asked.
    const isBusy = await page.evaluate(() => new Promise((resume) => requestAnimationFrame(() => requestAnimationFrame(() => resume(document.querySelector('[aria-busy="true"]') !== null)))));
    assert.equal(isBusy, false, `${href} is still busy`);
    const asked = [...(underWay.get(page) ?? [])].map((request) => request.url());
    assert.deepEqual(asked, [], `${href} waits for answers`);
  });
}

/** Keeps a picture of the page where somebody wants pictures: `TIDEGATE_SCREENSHOTS` names the folder. */
export async function picture(page, name) {
  const folder = process.env.TIDEGATE_SCREENSHOTS;
  if (folder) await page.screenshot({ path: `${folder}/${name}.png` });
}

const ALL = { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] };
/** What another theme can change. */
const COLOURS = { type: "rule", values: ["color-contrast", "link-in-text-block"] };

/** Every violation that axe finds in a place of the page, as a readable list; in the dark theme, those that colours can make. */
export async function violations(page, theme = "light", place = "html") {
  // Evaluated by the debugger: the content policy does not let a page load scripts from elsewhere, and need not.
  if (await page.evaluate(() => !("axe" in window))) await page.evaluate(`${axe}\n;0`);
  const found = await page.evaluate(([place, runOnly]) => axe.run(place, { runOnly, resultTypes: ["violations"], preload: false }), [place, theme === "dark" ? COLOURS : ALL]);
  return found.violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id}: ${help}: ${node.html.slice(0, 160)} ${node.failureSummary?.split("\n")[1]?.trim() ?? ""}`),
  );
}

/** The page in another theme, once its colours have stopped changing. */
export async function setTheme(page, theme) {
  await page.emulateMedia({ colorScheme: theme });
  await page.waitForFunction(
    (wanted) => document.documentElement.dataset.theme === wanted && !document.getAnimations().some((one) => one instanceof CSSTransition),
    theme,
  );
}

/** A picture in each theme, where somebody wants pictures. */
export async function pictures(page, name) {
  if (!process.env.TIDEGATE_SCREENSHOTS) return;
  for (const theme of ["dark", "light"]) {
    await setTheme(page, theme);
    await picture(page, `${name}-${theme}`);
  }
}

/** Every violation in the light theme, and those that its colours add in the dark one, each with its theme. */
export async function violationsInThemes(page, place, themes = ["light", "dark"]) {
  const found = [];
  for (const theme of themes) {
    await setTheme(page, theme);
    for (const violation of await violations(page, theme, place)) found.push({ theme, violation });
  }
  await setTheme(page, "light");
  return found;
}

export async function v2(origin, key, path) {
  const answer = await fetch(`${origin}/v2/${path}`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal(answer.status, 200, `${path}: ${answer.status}`);
  return answer.json();
}

/** `tag` is what routes can choose by. */
export async function chat(origin, key, body, tag) {
  const hints = tag === undefined ? {} : { "agent-hints": Buffer.from(JSON.stringify({ tag })).toString("base64url") };
  const answer = await fetch(`${origin}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json", ...hints },
    body: JSON.stringify({ messages: [{ role: "user", content: "Hello, tide." }], ...body }),
  });
  await answer.text();
  return { status: answer.status, id: answer.headers.get("x-request-id") };
}

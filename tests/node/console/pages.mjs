// How every page of the console looks to everyone: axe finds no violation in either theme, and nothing is wider than a small
// screen.
//
// usage: node pages.mjs ORIGIN ADMIN_KEY API_KEY [SCREENSHOTS]
// Prints `ok CASE` for each case that held; SCREENSHOTS is a folder for pictures at three sizes in both themes.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { inBrowser, ok, signIn, v2, violations, visit } from "./browser.mjs";
import { populate, send } from "./traffic.mjs";

const [origin, adminKey, , screenshots] = process.argv.slice(2);

const PAGES = ["/", "/requests", "/usage", "/playground", "/connect", "/keys", "/keys?new=1", "/credentials", "/credentials?new=openai", "/nodes", "/nodes?new=1", "/routes?model=echo", "/routes?edit=new", "/budgets", "/billing", "/webhooks", "/webhooks?new=1", "/members", "/audit", "/account", "/device", "/requests/no/such/page"];

/** Pages that are of one thing each. */
async function pagesOfObjects() {
  const [invoice] = (await v2(origin, adminKey, "billing/invoices")).data;
  const [webhook] = (await v2(origin, adminKey, "webhooks")).data;
  return [`/billing/${invoice.id}`, `/webhooks/${webhook.id}`];
}

async function everyPageIsAccessible(open) {
  const { data } = await v2(origin, adminKey, "requests?limit=50");
  const [served, failed] = ["completed", "failed"].map((outcome) => data.find((row) => row.outcome === outcome).id);
  // Each violation with the first place where it is seen: the frame is on every page.
  const objects = await pagesOfObjects();
  const found = new Map();
  const look = async (page, place) => {
    for (const one of await violations(page)) if (!found.has(one)) found.set(one, place);
  };
  for (const colorScheme of ["light", "dark"]) {
    const page = await open({ colorScheme });
    await visit(page, `${origin}/sign-in`);
    await look(page, `${colorScheme} /sign-in`);
    await signIn(page, origin, adminKey);
    for (const path of [...PAGES, `/requests/${served}`, `/requests/${failed}`, ...objects]) {
      await visit(page, origin + path);
      await look(page, `${colorScheme} ${path}`);
    }
    await visit(page, `${origin}/`);
    for (const name of [/Span of time/, /you and this device/]) {
      await page.getByRole("button", { name }).click();
      await look(page, `${colorScheme} ${name}`);
      await page.keyboard.press("Escape");
    }
    await page.keyboard.press("Control+k");
    await page.getByRole("option").first().waitFor();
    await look(page, `${colorScheme} palette`);
    await page.context().close();
  }
  assert.deepEqual([...found], []);
  ok("every_page_is_accessible");
}

async function everyPageFits(open) {
  const { data } = await v2(origin, adminKey, "requests?limit=1");
  const objects = await pagesOfObjects();
  // The small screen is where things don't fit; the others, and the dark, are for whoever looks at the pictures.
  const sizes = [[360, 780], [1280, 860], [2560, 1440]].slice(0, screenshots ? 3 : 1);
  for (const [width, height] of sizes) {
    for (const colorScheme of screenshots ? ["light", "dark"] : ["light"]) {
      const page = await open({ viewport: { width, height }, colorScheme });
      await signIn(page, origin, adminKey);
      for (const path of [...PAGES, `/requests/${data[0].id}`, ...objects]) {
        await visit(page, origin + path);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${path} is ${wide} px wider than ${width}`);
        if (!screenshots) continue;
        const name = path.replaceAll(/(trc|inv|whk)_\w+/g, "one").replaceAll(/\W+/g, "-").replace(/^-|-$/g, "") || "home";
        await page.screenshot({ path: `${screenshots}/${name}-${width}-${colorScheme}.png` });
      }
      await page.context().close();
    }
  }
  ok("every_page_fits");
}

if (screenshots) mkdirSync(screenshots, { recursive: true });
await populate();
await send("POST", "webhooks", { url: "http://127.0.0.1:9/hook", events: ["key.revoked"], description: "ops" });
await inBrowser(origin, async (open) => {
  await everyPageIsAccessible(open);
  await everyPageFits(open);
});

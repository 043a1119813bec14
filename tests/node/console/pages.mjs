// How every page of the console looks to everyone: axe finds no violation in either theme, and from a phone to 4K nothing is wider
// than the screen, spills out of its place, or is cut without saying so; a screen reader is told of the telling ones what was kept.
//
// usage: node pages.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held; TIDEGATE_SCREENSHOTS names a folder for a picture of each page at each size.

import assert from "node:assert/strict";
import { readsOtherwise } from "./aria.mjs";
import { IS_WHOLE, TURN, follow, inBrowser, ok, pictures, signIn, v2, violationsInThemes, visit } from "./browser.mjs";
import { populate, send } from "./traffic.mjs";

const [origin, adminKey] = process.argv.slice(2);

const PAGES = ["/", "/requests", "/usage", "/caches", "/upstreams", "/models", "/models?find=claude&sort=-output", "/models/openai%2Fgpt-5.6-sol", "/models/echo", "/capabilities", "/capabilities?provider=anthropic", "/playground", "/playground?model=echo&model=anthropic/claude-opus-5.5&model=gemini/gemini-4-pro&model=xai/grok-4.7", "/gallery", "/gallery?show=own", "/gallery?show=own&edit=new", "/gallery?show=own&import=1", "/gallery?show=secrets", "/gallery?show=secrets&secret=new", "/uploads", "/uploads?new=1", "/connect", "/projects", "/projects?new=1", "/keys?sort=Name", "/keys?new=1", "/credentials", "/credentials?new=openai", "/credentials?new=azure_openai", "/accounts", "/nodes", "/nodes?new=1", "/nodes?invite=1", "/training", "/training?new=1", "/routes?model=echo", "/routes?edit=new", "/aliases", "/aliases?new=1", "/policies", "/policies?edit=new", "/hints", "/hints?edit=new", "/sessions", "/sessions/ses_01900000000070008000000000000000", "/runs", "/runs/tsk_01900000000070008000000000000000", "/agents", "/agents?new=1", "/agents?chat=helper", "/tools", "/tools?new=1", "/batches", "/budgets", "/limits", "/limits?edit=workspace", "/settings", "/commitments", "/billing", "/alerts", "/alerts?edit=new", "/webhooks", "/webhooks?new=1", "/members", "/audit", "/data-path", "/data-path?range=30d", "/purges", "/purges?new=1", "/erasures", "/erasures?new=1", "/legal-holds", "/legal-holds?new=1", "/data-exports", "/data-exports?new=1", "/diagnostics", "/reconciliation", "/replays", "/workers", "/hardware", "/data-planes", "/data-planes?new=1", "/reconciliation?new=1", "/account", "/device", "/requests/no/such/page", "/nope", "/authorize", "/mcp-servers/authorized", "/flows"];

/** Pages whose words for a screen reader are kept, by the file that keeps them. */
const READ_OUT = { "/": "home", "/requests": "requests", "/usage": "usage", "/keys?sort=Name": "keys", "/budgets": "budgets", "/playground": "playground", "/connect": "connect" };

/** Pages that are of one thing each. */
async function pagesOfObjects() {
  const [invoice] = (await v2(origin, adminKey, "billing/invoices")).data;
  const [webhook] = (await v2(origin, adminKey, "webhooks")).data;
  const node = (await v2(origin, adminKey, "byoc/nodes?limit=1000")).data.find(({ name }) => name === "echo");
  const [alias] = (await v2(origin, adminKey, "model-aliases")).data;
  const [project] = (await v2(origin, adminKey, "projects")).data;
  return [`/projects/${project.id}`, `/aliases/${alias.id}`, `/aliases/${alias.id}?edit=release`, `/billing/${invoice.id}`, `/webhooks/${webhook.id}`, `/nodes/${node.id}`, `/nodes/${node.id}?edit=labels`, `/nodes/${node.id}?edit=cost`];
}

/** From a screen of 1,280 px at 400 % to a desk; what a picture is wanted of is shown in the dark, too. */
const SIZES = [[320, 640], [1280, 860]];
/** Sizes that differ little from another: each page is seen in another of them each day. */
const MORE_SIZES = [[768, 1024], [360, 780], [1920, 1080], [3840, 2160]];
let seen = 0;

function sizes() {
  if (IS_WHOLE) return [...SIZES, ...MORE_SIZES];
  seen += 1;
  return [...SIZES, MORE_SIZES[(seen + TURN) % MORE_SIZES.length]];
}

/** What is wider than its place: the page, words that spill out of it, words that are cut without an ellipsis. */
function misfits() {
  const found = [];
  const wide = document.documentElement.scrollWidth - innerWidth;
  if (wide > 0) found.push(`the page is ${wide} px too wide`);
  for (const one of document.querySelectorAll("main *, nav *, header *, dialog *")) {
    const hasWords = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim() !== "");
    const style = getComputedStyle(one);
    if (!hasWords || one.closest(".visually-hidden") || !one.checkVisibility() || ["inline", "contents"].includes(style.display)) continue;
    if (one.clientWidth === 0 || one.scrollWidth <= one.clientWidth + 1) continue;
    if (style.overflowX === "visible") found.push(`spills by ${one.scrollWidth - one.clientWidth} px: ${one.outerHTML.slice(0, 120)}`);
    else if (style.overflowX === "hidden" && style.textOverflow !== "ellipsis") found.push(`is cut: ${one.outerHTML.slice(0, 120)}`);
  }
  return found;
}

/** Each violation with the first place where it is seen: the frame is on every page. */
const violated = new Map();

/** Themes differ in colours alone, of which all pages have the same: every other page is looked at in the dark, too, and the others the next day. */
async function look(page, place) {
  const themes = IS_WHOLE || (seen + TURN) % 2 === 0 ? ["light", "dark"] : ["light"];
  for (const { theme, violation } of await violationsInThemes(page, "html", themes)) if (!violated.has(violation)) violated.set(violation, `${theme} ${place}`);
}

/** What doesn't fit on a page that is open, from the smallest screen to the largest. */
async function fits(page, path, wrong) {
  const name = path.replaceAll(/(trc|inv|whk|node|prj|ali)_\w+/g, "one").replaceAll(/\W+/g, "-").replace(/^-|-$/g, "") || "home";
  for (const [width, height] of sizes()) {
    await page.setViewportSize({ width, height });
    await page.evaluate(() => new Promise((resume) => requestAnimationFrame(() => requestAnimationFrame(resume))));
    for (const one of await page.evaluate(misfits)) wrong.push(`${path} at ${width}: ${one}`);
    await pictures(page, `${name}-${width}`);
  }
  await page.setViewportSize({ width: 1280, height: 860 });
}

async function everyPage(open) {
  const { data } = await v2(origin, adminKey, "requests?limit=50");
  const [served, failed] = ["completed", "failed"].map((outcome) => data.find((row) => row.outcome === outcome).id);
  const readings = { ...READ_OUT, [`/requests/${served}`]: "request" };
  const [wrong, changed] = [[], []];
  const page = await open({ colorScheme: "light" });
  await visit(page, `${origin}/sign-in`);
  await look(page, "/sign-in");
  await signIn(page, origin, adminKey);
  for (const path of [...PAGES, `/requests/${served}`, `/requests/${failed}`, ...(await pagesOfObjects())]) {
    await follow(page, path);
    if (path in readings) changed.push(...(await readsOtherwise(page, readings[path])));
    await look(page, path);
    await fits(page, path, wrong);
  }
  await visit(page, `${origin}/`);
  for (const name of [/Time range/, /you and this device/]) {
    await page.getByRole("button", { name }).click();
    await look(page, String(name));
    await page.keyboard.press("Escape");
  }
  await page.keyboard.press("Control+k");
  await page.getByRole("option").first().waitFor();
  await look(page, "palette");
  await page.context().close();
  assert.deepEqual([...violated], []);
  ok("every_page_is_accessible");
  assert.deepEqual(wrong, []);
  ok("every_page_fits");
  assert.deepEqual(changed, []);
  ok("telling_pages_read_the_same");
}

await populate();
await send("POST", "model-aliases", { name: "auto", description: "what agents ask for", targets: [{ model: "echo", weight: 9 }, { model: "openai/gpt-5.6-sol", weight: 1 }] });
await send("POST", "alert-rules", { name: "failing", metric: "error_percent", threshold: 1, window_minutes: 60, model: "no-such-model", requests_min: 1 });
await send("POST", "webhooks", { url: "http://127.0.0.1:9/alerts", events: ["alert.firing"], quiet_hours: { from: "22:00", to: "07:00" } });
await send("POST", "webhooks", { url: "http://127.0.0.1:9/hook", events: ["key.revoked"], description: "ops" });
await send("POST", "budgets", { workspace: true, limit_micros: 50_000_000, period: "month", alerts: [80] });
await send("POST", "diagnostics", { window: "24h" });
await send("POST", "diagnostics", { traces: [0, 1, 2].map((number) => ({ trace_id: `t${number}`, prefix_family_id: "f", schedule: { arrival_offset_ms: number * 60_000 }, observed: { resolved_target: "anthropic/claude-sonnet-4-6", ttft_ms: 500, latency_ms: 20_000, input_tokens: 9_000, candidate_reuse_tokens: number > 0 ? 8_000 : 0, output_tokens: 1 } })) });
await inBrowser(origin, everyPage);

// Each page in each state that it can be in, in both themes by the day, without a violation: new, while it loads, when the server fails (also
// before it has said who is signed in), when the server is away, when a filter leaves nothing, and for somebody who may not see it.
//
// usage: node states.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held. TIDEGATE_SCREENSHOTS names a folder for a picture of each.

import assert from "node:assert/strict";
import { IS_WHOLE, TURN, chat, follow, inBrowser, ok, pictures, signIn, turnTo, v2, violationsInThemes, visit } from "./browser.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);

/** What each page says while it has nothing, and the command that would fill it. */
const NEW = {
  "/": ["No requests yet", "curl "],
  "/requests": ["No request in the last 24 hours", "curl "],
  "/usage": ["No usage in this time range", "tidegate chat "],
  "/caches": ["No cacheable requests in this time range", "tidegate project set "],
  "/upstreams": ["Nothing is serving yet", "tidegate credential add "],
  "/aliases": ["No aliases yet", "tidegate alias add "],
  "/policies": ["No policies yet", "tidegate policy add "],
  "/commitments": ["No commitments yet", "tidegate credential set "],
  "/credentials": ["No credentials yet", "tidegate credential add "],
  "/accounts": ["No accounts yet", "tidegate account add "],
  "/nodes": ["No nodes yet", "tidegate nodes add "],
  "/training": ["No training jobs yet", "tidegate train start "],
  "/routes": ["No routes yet", "tidegate route add "],
  "/runs": ["No tasks yet", "tidegate task list"],
  "/uploads": ["No files yet.", "tidegate file put "],
  "/gallery?show=own": ["No apps of your own yet.", "tidegate app add "],
  "/gallery?show=secrets": ["No secrets yet.", "tidegate secret set "],
  "/batches": ["No batches yet", "tidegate batch list"],
  "/budgets": ["No budgets yet", "tidegate budget add "],
  "/reconciliation": ["No reconciliations yet", "tidegate reconcile "],
  "/replays": ["No replays yet", "tidegate replay run "],
  "/workers": ["No workers yet", "curl "],
  "/hardware": ["No nodes yet", "tidegate nodes set "],
  "/data-planes": ["No data planes yet", "tidegate data-planes invite "],
  "/data-path": ["No requests in this time range", "tidegate data-path "],
  "/alerts": ["No alert rules yet", "tidegate alert add "],
  "/webhooks": ["No webhooks yet", "tidegate webhook add "],
  "/erasures": ["No erasures yet", "tidegate erase add "],
  "/legal-holds": ["No legal holds", "tidegate hold add "],
  "/data-exports": ["No exports yet", "tidegate data-export add "],
};
/** What a page asks of the server, by the name that the person reads. */
const READS = {
  "/": "the overview",
  "/requests": "the histogram",
  "/usage": "usage",
  "/caches": "savings",
  "/upstreams": "the health of what serves",
  "/projects": "projects",
  "/aliases": "aliases",
  "/policies": "policies",
  "/commitments": "commitments",
  "/alerts": "alert rules",
  "/webhooks": "webhooks",
  "/models": "models",
  "/models/echo": "models",
  "/capabilities": "capabilities",
  "/keys": "keys",
  "/credentials": "credentials",
  "/accounts": "accounts",
  "/nodes": "nodes",
  "/training": "training jobs",
  "/routes": "routes",
  "/routes?model=echo": "the plan",
  "/runs": "tasks",
  "/uploads": "files",
  "/gallery?show=own": "apps",
  "/gallery?show=secrets": "secrets",
  "/batches": "batches",
  "/budgets": "budgets",
  "/billing": "this month",
  "/reconciliation": "reconciliations",
  "/replays": "replay runs",
  "/workers": "workers",
  "/hardware": "what hardware costs",
  "/data-planes": "data planes",
  "/data-path": "the data path",
  "/members": "members",
  "/audit": "the audit",
  "/erasures": "erasures",
  "/legal-holds": "legal holds",
  "/data-exports": "data exports",
};

const found = new Map();
/** States that change more than what a page shows in its middle; the frame is looked at on every page in pages.mjs. */
const OF_THE_WHOLE_PAGE = ["unstarted", "refused"];

let looks = TURN;

/** What a state is made of is the same on every page, so every other page is looked at, and every fourth in the dark, too: the next day the others. */
async function look(page, state, path) {
  looks += 1;
  const name = path.replaceAll(/\W+/g, "-").replace(/^-|-$/g, "") || "home";
  await pictures(page, `${state}-${name}`);
  const place = OF_THE_WHOLE_PAGE.includes(state) ? "html" : "main";
  if (!IS_WHOLE && looks % 2 === 0 && place === "main") return;
  const themes = IS_WHOLE || looks % 4 === 1 ? ["light", "dark"] : ["light"];
  for (const { theme, violation } of await violationsInThemes(page, place, themes)) if (!found.has(violation)) found.set(violation, `${theme} ${state} ${path}`);
}

/** Everything that a page asks for, but for who is signed in. */
async function every(page, answer) {
  await page.route(/\/v2\/(?!me$|workspaces$)/, answer);
}

const MODELS = { object: "list", data: [{ id: "echo", object: "model", modality: "chat" }], has_more: false, next_cursor: null };
/** Pages whose command names a model, and the ways to connect one where nothing serves any. */
const ASKS = ["/", "/requests", "/usage"];

async function isNew(page) {
  for (const path of ASKS) {
    await follow(page, path);
    await page.getByText("Connect a model first").waitFor();
    for (const way of [/^Your own key/, /^Managed/, /^Your own node/]) assert.ok(await page.getByRole("link", { name: way }).isVisible(), path);
    await page.getByRole("button", { name: "Start the demo node" }).click();
    const demo = page.getByLabel("the commands that start the demo node", { exact: true });
    assert.match(await demo.innerText(), /^tidegate node join .* --token tgj_\S+ .* --tunnel\ntidegate node --model echo /, path);
    assert.equal(await page.getByLabel("command", { exact: true }).count(), 0, path);
    await look(page, "unconnected", path);
  }
  // As where a model is served.
  await page.route(/\/v2\/models(\?|$)/, (route) => route.fulfill({ json: MODELS }));
  for (const [path, [words, command]] of Object.entries(NEW)) {
    await follow(page, path);
    await page.getByText(words).waitFor();
    assert.ok((await page.getByLabel("command", { exact: true }).first().innerText()).includes(command), path);
    await look(page, "new", path);
  }
  await page.unrouteAll({ behavior: "ignoreErrors" });
}

/** Loads the console without what it remembers of answers, while every request gets the given one. */
async function begin(page, answer) {
  await every(page, answer);
  await page.goto(`${origin}/account`);
  await page.getByRole("heading", { level: 1 }).waitFor();
}

async function loads(page) {
  await begin(page, () => undefined);
  for (const [path, what] of Object.entries(READS)) {
    await turnTo(page, path);
    await page.getByRole("status").getByText(`Loading ${what}`).waitFor({ state: "attached" });
    assert.ok((await page.locator(".bone").first().boundingBox()).height >= 24, "what loads has the room of what comes");
    await look(page, "loading", path);
  }
  await page.unrouteAll({ behavior: "ignoreErrors" });
}

const PROBLEM = { type: "about:blank", title: "Service Unavailable", status: 503, code: "store_unavailable", detail: "The database did not answer.", fix: "Look at the database; this is tried again by itself.", request_id: "trc_0190000000007000800000000000beef", retryable: true };

async function fails(page) {
  await begin(page, (route) => route.fulfill({ status: 503, contentType: "application/problem+json", body: JSON.stringify(PROBLEM) }));
  for (const path of Object.keys(READS)) {
    await turnTo(page, path);
    const alert = page.getByRole("alert").first();
    await alert.waitFor();
    const text = await alert.innerText();
    for (const said of [PROBLEM.code, PROBLEM.detail, PROBLEM.fix, PROBLEM.request_id]) assert.ok(text.includes(said), `${path}: ${text}`);
    await look(page, "error", path);
  }
  assert.ok(await page.getByRole("button", { name: "Try again" }).first().isVisible());
  // By hand, or by itself.
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.getByRole("alert").waitFor({ state: "detached" });
}

/** The server fails before it has said who is signed in: a failure signs nobody out. */
async function cannotStart(page) {
  const atFirst = /\/v2\/(me|workspaces)$/;
  for (const answer of [(route) => route.abort(), (route) => route.fulfill({ status: 503, contentType: "application/problem+json", body: JSON.stringify(PROBLEM) })]) {
    await page.route(atFirst, answer);
    await page.goto(`${origin}/requests`);
    await page.getByRole("heading", { level: 1, name: "The console couldn’t start" }).waitFor();
    await look(page, "unstarted", "/requests");
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await page.getByRole("heading", { level: 1, name: "Requests" }).waitFor();
    assert.equal(new URL(page.url()).pathname, "/requests");
  }
  // But a key that the server refuses does.
  const key = await page.evaluate(() => sessionStorage.getItem("tidegate.api_key"));
  await page.evaluate(() => sessionStorage.setItem("tidegate.api_key", "tg_live_revoked"));
  await page.goto(`${origin}/requests`);
  await page.getByRole("heading", { level: 1, name: "Sign in to Tidegate" }).waitFor();
  await signIn(page, origin, key);
}

async function isAway(page) {
  for (const path of Object.keys(READS)) {
    await follow(page, path);
    const before = (await page.locator("main").innerText()).length;
    await every(page, (route) => route.abort());
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await page.getByText(/Showing data from .*(did not answer|didn’t respond)|Showing earlier results/).first().waitFor();
    assert.ok((await page.locator("main").innerText()).length >= before, `${path}: what was there stays`);
    await look(page, "stale", path);
    await page.unrouteAll({ behavior: "ignoreErrors" });
  }
}

async function isFiltered(page) {
  for (const [path, words] of [
    ["/requests?filter=model:nothing-like-it", /0 of \d+ requests? in this time range match/],
    ["/usage?filter=model:nothing-like-it", "No usage matches in this time range"],
    ["/audit?find=nothing-like-it", "No matches."],
    ["/models?find=nothing-like-it", /0 of \d+ models match/],
  ]) {
    await visit(page, origin + path);
    await page.getByText(words).waitFor();
    await look(page, "filtered", path);
    await page.getByRole("link", { name: /^Clear/ }).click();
    await page.getByText(words).waitFor({ state: "detached" });
  }
}

async function isRefused(page) {
  await visit(page, `${origin}/audit`);
  await page.getByText("You don’t have permission to view the audit.").waitFor();
  assert.ok(await page.getByRole("link", { name: "View members" }).isVisible(), "who can grant it is said");
  await look(page, "refused", "/audit");
  for (const [path, fill, press] of [
    ["/keys?new=1", { Name: "mine" }, "Create"],
    ["/budgets?new=1", { "Limit in dollars": "5" }, "Set"],
    ["/alerts?edit=new", { "Above, in dollars": "5" }, "Add"],
    ["/nodes?new=1", { Name: "rack", Address: "http://127.0.0.1:9/v1" }, "Add"],
    ["/nodes?invite=1", { Name: "rack" }, "Invite"],
  ]) {
    await visit(page, origin + path);
    const form = page.getByRole("dialog");
    for (const [label, value] of Object.entries(fill)) await form.getByLabel(label, { exact: true }).fill(value);
    await form.getByRole("button", { name: press, exact: true }).click();
    await form.getByText("You don’t have permission to do this.").waitFor();
    await look(page, "refused", path);
  }
}

await inBrowser(origin, async (open) => {
  const { key: reader } = await send("POST", "api-keys", { name: "reader", scopes: ["read"] });
  const page = await open({ colorScheme: "light" });
  const inBothThemes = async (name, visitStates) => {
    await visitStates(page);
    assert.deepEqual([...found], []);
    ok(name);
  };
  await signIn(page, origin, adminKey);
  await inBothThemes("new", isNew);
  for (const model of ["echo", "echo", "no-such-model"]) await chat(origin, apiKey, { model });
  assert.ok((await v2(origin, adminKey, "requests")).data.length <= 3);
  await inBothThemes("loading", loads);
  await inBothThemes("error", fails);
  await inBothThemes("unstarted", cannotStart);
  await inBothThemes("stale", isAway);
  await inBothThemes("filtered", isFiltered);
  await page.evaluate(() => sessionStorage.clear());
  await signIn(page, origin, reader);
  await inBothThemes("refused", isRefused);
});

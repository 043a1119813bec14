// What people, providers and models write is shown as text wherever it is shown: hundreds of payloads in every field, a page for
// each kind of field, and not one of them runs, asks for anything, or becomes a part of the page.
//
// usage: node xss.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { TURN, inBrowser, ok, signIn, v2, visit } from "./browser.mjs";
import { PAYLOADS } from "./payloads.mjs";
import { serve } from "./servers.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);
const AT_ONCE = 16;

/** A provider that answers with payloads: as names of models, as answers, as refusals, in headers. */
function hostileProvider(request, response, body) {
  const head = (payload) => ({ "content-type": "application/json", "x-request-id": payload.replaceAll(/[^\x20-\x7e]/g, "?") });
  if (request.method === "GET") {
    response.writeHead(200, head(PAYLOADS[0]));
    response.end(JSON.stringify({ object: "list", data: PAYLOADS.map((id) => ({ id, object: "model" })) }));
    return;
  }
  const { model, messages, stream } = JSON.parse(body);
  const asked = messages.at(-1).content;
  const payload = PAYLOADS[Number(/\d+/.exec(asked)?.[0] ?? 0)];
  const text = asked === "all" ? PAYLOADS.join("\n") : payload;
  const refused = /^refuse (\d+) (\d+)/.exec(asked);
  if (refused) {
    response.writeHead(Number(refused[2]), head(payload));
    response.end(JSON.stringify({ error: { message: payload, type: payload, param: payload, code: payload } }));
  } else if (stream) {
    response.writeHead(200, { ...head(payload), "content-type": "text/event-stream" });
    const chunk = (delta, finish_reason) => `data: ${JSON.stringify({ id: payload, object: "chat.completion.chunk", model, choices: [{ index: 0, delta, finish_reason }] })}\n\n`;
    response.end(`${chunk({ role: "assistant", content: text }, null)}${chunk({}, "stop")}data: [DONE]\n\n`);
  } else {
    const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
    response.writeHead(200, head(payload));
    response.end(JSON.stringify({ id: payload, object: "chat.completion", model, choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }], usage }));
  }
}

async function each(list, work) {
  for (let at = 0; at < list.length; at += AT_ONCE) await Promise.all(list.slice(at, at + AT_ONCE).map((one, place) => work(one, at + place)));
}

async function call(model, content, tag) {
  const hints = Buffer.from(JSON.stringify({ tag })).toString("base64url");
  const answered = await fetch(`${origin}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json", "agent-hints": hints, "user-agent": encodeURI(tag) },
    body: JSON.stringify({ model, messages: [{ role: "user", content }] }),
  });
  await answered.text();
  return answered.headers.get("x-request-id");
}

/** Puts a payload wherever the API takes one; returns a request of each kind. */
async function plant(provider) {
  const base_url = `${provider.base}/v1`;
  const project = (await send("POST", "projects", { name: PAYLOADS[1] })).id;
  await each(PAYLOADS, (name) => send("POST", "api-keys", { name }));
  await each(PAYLOADS.slice(0, 120), (name, at) => send("POST", "projects", { name: `${at} ${name}`.slice(0, 200), metadata: { [name]: name } }));
  await each(PAYLOADS.slice(0, 120), (name, at) => send("POST", "members", { name, email: `m${at}@example.com`, role: "viewer" }));
  const credentials = [];
  // What isn't a region's name is not taken: it may stand in an address.
  await each(PAYLOADS.slice(0, 120), async (region) => {
    const answered = await fetch(`${origin}/v2/provider-credentials`, {
      method: "POST",
      headers: { authorization: `Bearer ${adminKey}`, "content-type": "application/json" },
      body: JSON.stringify({ provider: "openai_compatible", display_name: "nowhere", secret: "sk-x", base_url, region }),
    });
    assert.deepEqual([answered.status, (await answered.json()).param], [400, "region"], region);
  });
  await each(PAYLOADS.slice(0, 120), async (name, at) => {
    const made = await send("POST", "provider-credentials", { provider: "openai_compatible", display_name: name, secret: "sk-x", base_url, region: "eu-west-1", config: { [name]: name }, metadata: { [name]: name } });
    credentials[at] = made.id;
  });
  await each(PAYLOADS.slice(120, 160), (name) => send("POST", "accounts", { provider: "openai", display_name: name, secret: "sk-x", base_url, models: [name] }));
  await each(PAYLOADS.slice(160, 220), (reason) => send("POST", "legal-holds", { project_id: project, reason }));
  const sets = Array.from({ length: 12 }, (_, set) => PAYLOADS.filter((_, at) => at % 12 === set));
  const nodes = [];
  for (const [at, set] of sets.entries()) nodes.push((await send("POST", "byoc/nodes", { name: PAYLOADS[at * 7], base_url, models: [...set, `model-${at}`], labels: set, metadata: { [set[0]]: set } })).id);
  // It says itself what it serves.
  nodes.push((await send("POST", "byoc/nodes", { name: "learned", base_url })).id);
  const routes = [];
  await each(PAYLOADS.slice(0, 60), async (name, at) => {
    const made = await send("POST", "routes", { scope: { tag: name, model: name.replaceAll("*", "") }, profiles: ["byoc"], regions: [name], node_labels: [name] });
    routes[at] = made.id;
  });
  await send("PATCH", `workspaces/${(await v2(origin, adminKey, "me")).workspace_id}`, { name: PAYLOADS[121] });
  // In the order of the payloads, not in that of the answers: a run of the same day looks at the same ones.
  const requests = [];
  await each(PAYLOADS, async (payload, at) => {
    requests[2 * at] = await call(payload, `answer ${at}`, payload.slice(0, 120));
    if (at % 4 === 0) requests[2 * at + 1] = await call("model-0", `refuse ${at} ${[400, 401, 403, 404, 422, 500][at % 6]}`, payload.slice(0, 120));
  });
  return { base_url, project, credentials, nodes, routes, requests: requests.filter((id) => id !== undefined) };
}

/** Records what runs, what is refused, and what asks. */
async function watched(open) {
  const page = await open();
  const seen = [];
  page.on("dialog", (dialog) => {
    seen.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.exposeFunction("harm", (number) => seen.push(`ran: ${PAYLOADS[number]}`));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => globalThis.harm?.(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await signIn(page, origin, adminKey);
  return { page, seen };
}

/** Parts of a page that no text of ours makes: handlers, foreign addresses, frames, scripts from elsewhere. */
async function foreignParts(page) {
  return page.evaluate((own) => {
    const found = [];
    const isScheme = (value) => /^\s*(javascript|vbscript|data|blob)\s*:/i.test(value.replaceAll(/[\u0000-\u001f]/g, ""));
    for (const element of document.querySelectorAll("*")) {
      const name = element.localName;
      if (["iframe", "object", "embed", "base", "portal", "math", "marquee", "audio", "video", "isindex"].includes(name)) found.push(name);
      if (name === "script" && !new URL(element.src || "x:", location.href).href.startsWith(own)) found.push(`script ${element.outerHTML.slice(0, 80)}`);
      if (name === "meta" && element.hasAttribute("http-equiv")) found.push("meta");
      for (const { name: attribute, value } of element.attributes) {
        if (attribute.startsWith("on") || attribute === "srcdoc") found.push(`${name} ${attribute}`);
        if (["href", "src", "action", "formaction", "xlink:href", "data", "poster"].includes(attribute)) {
          if (isScheme(value)) found.push(`${name} ${attribute}=${value.slice(0, 40)}`);
          // The catalogue's sources: links that lead out, tell nobody from where, and are followed by hand alone.
          else if (name === "a" && element.rel === "noreferrer" && element.target === "_blank" && /^https?:\/\/[a-z0-9.-]+(\/|$)/.test(value)) continue;
          else if (value !== "" && !new URL(value, location.href).href.startsWith(own)) found.push(`${name} ${attribute}=${value.slice(0, 60)}`);
        }
      }
    }
    return found;
  }, origin);
}

/** A watch that sees nothing proves nothing: it is shown one of each. */
async function tried({ page, seen }) {
  await page.evaluate(() => globalThis.harm(0));
  const frame = await page.evaluateHandle(() => document.body.appendChild(document.createElement("iframe")));
  const link = await page.evaluateHandle(() => Object.assign(document.body.appendChild(document.createElement("a")), { href: "javascript:harm(1)" }));
  assert.deepEqual(seen.splice(0), [`ran: ${PAYLOADS[0]}`]);
  assert.deepEqual(await foreignParts(page), ["iframe", "a href=javascript:harm(1)"]);
  for (const part of [frame, link]) await part.evaluate((element) => element.remove());
}

async function look({ page, seen }, path) {
  await visit(page, origin + path);
  // Whoever waits to be focused, hovered or scrolled to gets their chance.
  await page.mouse.move(400, 300);
  for (let screens = 0; screens < 6; screens += 1) {
    await page.mouse.wheel(0, 1_500);
    await page.keyboard.press("Tab");
  }
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  assert.deepEqual(seen, [], path);
  assert.deepEqual(await foreignParts(page), [], path);
  return page.locator("body").innerText();
}

const provider = await serve(hostileProvider);
try {
  assert.ok(PAYLOADS.length >= 300 && new Set(PAYLOADS).size === PAYLOADS.length, `${PAYLOADS.length} payloads`);
  const { project, credentials, nodes, routes, requests } = await plant(provider);
  await inBrowser(origin, async (open) => {
    const on = await watched(open);
    await tried(on);

    const keys = await look(on, "/keys");
    // What is invisible or turns the reading order is shown as what it is, and white space as one space.
    const shownAs = (payload) => payload.replaceAll(/\s+/g, " ");
    const isShownAsTyped = (payload) => !/[\u2028\u202e\ufeff]/.test(payload);
    const missing = PAYLOADS.filter((payload) => isShownAsTyped(payload) && !keys.includes(shownAs(payload)));
    assert.deepEqual(missing, [], "each name is shown as it was typed");
    ok("names_of_keys");

    for (const path of ["/", "/members", "/credentials", "/nodes", "/routes", "/audit", "/upstreams", "/projects", "/caches", "/billing", "/account", "/budgets", "/alerts", "/connect", "/models", "/capabilities", "/playground", "/legal-holds"]) await look(on, path);
    for (const id of [credentials[0], credentials.at(-1)]) await look(on, `/credentials/${id}`);
    for (const id of [nodes[0], nodes[5], nodes.at(-1)]) await look(on, `/nodes/${id}`);
    for (const id of [routes[0], routes.at(-1)]) await look(on, `/routes/${id}`);
    ok("every_list_and_object");

    const listed = await look(on, "/requests");
    assert.ok(listed.includes("harm("), "what was asked for is shown");
    for (const by of ["model", "key", "project", "provider", "tag", "region"]) await look(on, `/usage?group=${by}`);
    // Within a month each request is looked at.
    const sample = requests.filter((_, at) => (at + TURN) % 30 === 0);
    for (const id of sample) {
      await look(on, `/requests/${id}`);
      const whole = await v2(origin, adminKey, `requests/${id}`);
      const text = await on.page.locator("main").innerText();
      if (!isShownAsTyped(whole.requested_model)) continue;
      const expected = shownAs(whole.requested_model).slice(0, 20);
      assert.ok(text.includes(expected), `${expected} is not on its request's page, which shows: ${text}`);
    }
    ok("requests_and_what_providers_say");

    // What an address says: filters, models, groups, where to go next.
    const quoted = (payload) => encodeURIComponent(`model:"${payload.replaceAll(/["\\]/g, "\\$&")}"`);
    const places = [(text) => `/requests?filter=${text}`, (_, payload) => `/requests?filter=${quoted(payload)}`, (text) => `/connect?model=${text}`, (text) => `/playground?model=${text}`, (text) => `/playground?model=echo&model=${text}`, (text) => `/models/${text}`, (text) => `/models?find=${text}&seller=${text}&modality=${text}&sort=${text}`, (text) => `/capabilities?provider=${text}`, (text) => `/routes?model=${text}`, (text) => `/usage?group=${text}`, (text) => `/audit?find=${text}`, (text) => `/requests/${text}`];
    // Two in each place, and others the next day: within a fortnight each payload is in some place, and in another one in the next.
    const turns = Array.from({ length: 2 * places.length }, (_, nth) => PAYLOADS[(TURN * 2 * places.length + nth) % PAYLOADS.length]);
    for (const [at, payload] of turns.entries()) await look(on, places[(at + TURN) % places.length](encodeURIComponent(payload), payload));
    ok("what_an_address_says");

    await visit(on.page, `${origin}/playground?model=model-0`);
    await on.page.getByLabel("Message").fill("all");
    await on.page.keyboard.press("Enter");
    const article = on.page.getByRole("article", { name: "model-0" });
    await article.getByText("Request details").waitFor();
    const said = await article.innerText();
    for (const payload of PAYLOADS.filter(isShownAsTyped)) assert.ok(said.includes(payload), `an answer is shown as it is: ${payload}`);
    assert.equal(await article.locator("img, script, iframe, form, input").count(), 0);
    await on.page.getByLabel("Message").fill("refuse 12 400");
    await on.page.keyboard.press("Enter");
    await on.page.getByRole("alert").first().waitFor();
    assert.deepEqual(on.seen, []);
    assert.deepEqual(await foreignParts(on.page), []);
    ok("answers_and_errors_of_models");

    await on.page.goto(`${origin}/sign-in?next=${encodeURIComponent("javascript:harm(1)")}`);
    await on.page.waitForURL(`${origin}/`);
    assert.deepEqual(on.seen, []);
    assert.ok(project);
    ok("nothing_ran");
  });
} finally {
  provider.close();
}
console.error(`${PAYLOADS.length} payloads`);

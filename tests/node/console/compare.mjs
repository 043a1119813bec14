// The playground of a person: a key made by the first message, several models asked the same, each with what served it, how soon
// and for how much; and nothing of the key is left when they leave.
//
// usage: node compare.mjs ORIGIN ADMIN_KEY API_KEY LINK
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { inBrowser, ok, picture, v2, violations, visit } from "./browser.mjs";
import { sendJson, serve } from "./servers.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, , link] = process.argv.slice(2);
const MINI = "openai/gpt-4o-mini";
const LARGE = "openai/gpt-4o";
const USAGE = { prompt_tokens: 12, completion_tokens: 7, total_tokens: 19 };

/** Asked for by name: what each model is told, and whoever waits for a word that the journey lets go. */
const heard = [];
const held = [];

/** A provider that says what it was asked, word by word; "refuse" is refused, "hold" begins and then waits. */
function provider(request, response, body) {
  if (request.method === "GET") return sendJson(response, 200, { object: "list", data: [{ id: "gpt-4o-mini", object: "model" }] });
  const { model, messages } = JSON.parse(body);
  heard.push({ model, messages });
  const said = messages.at(-1).content;
  answer(response, model, typeof said === "string" ? said : said.at(-1).text);
}

function answer(response, model, said) {
  if (said === "refuse" && model.endsWith("mini")) return sendJson(response, 400, { error: { message: "not this one", type: "invalid_request_error", param: null, code: "no" } });
  const chunk = (more) => `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model, choices: [], ...more })}\n\n`;
  const word = (content) => chunk({ choices: [{ index: 0, delta: { role: "assistant", content }, finish_reason: null }] });
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(word(`${model} heard: `));
  const finish = () => response.end(`${word(said)}${chunk({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] })}${chunk({ usage: USAGE })}data: [DONE]\n\n`);
  if (said === "hold") held.push(finish);
  else finish();
}

const card = (page, name) => page.getByRole("article", { name, exact: true });

/** What was sent on the page's own account: the key of its calls, and what they held. */
function listened(page) {
  const calls = [];
  page.on("request", (request) => {
    if (request.method() === "POST" && new URL(request.url()).pathname === "/v1/chat/completions") calls.push({ key: request.headers().authorization?.slice("Bearer ".length), body: request.postDataJSON() });
  });
  return calls;
}

async function asks(page, text) {
  await page.getByLabel("Message").fill(text);
  await page.keyboard.press("Enter");
}

const playgroundKeys = async () => (await v2(origin, adminKey, "api-keys")).data.filter((key) => key.name === "playground" && key.status === "active");

/** Nothing is made by a look; the first message makes the key that it needs. */
async function keyIsMadeByTheFirstMessage(page) {
  await visit(page, `${origin}/playground?model=echo`);
  assert.deepEqual(await violations(page), []);
  await picture(page, "playground-no-key");
  assert.deepEqual(await playgroundKeys(), []);
  await asks(page, "Hello.");
  await card(page, "echo").getByText("Request details").waitFor();
  await page.getByText("Using a temporary key.").waitFor();
  const [made, ...others] = await playgroundKeys();
  assert.deepEqual([made.scopes, others], [["inference"], []]);
  const days = (Date.parse(made.expires_at) - Date.now()) / 86_400_000;
  assert.ok(days > 0 && days <= 1, "it ends by itself within a day");
  await page.getByRole("button", { name: "New conversation" }).click();
  ok("key_is_made_by_the_first_message");
}

/** What is set and attached is what the provider gets; a conversation of this tab is gone back to. */
async function whatIsSetIsSent(page) {
  await visit(page, `${origin}/playground?model=${encodeURIComponent(MINI)}`);
  await page.getByLabel("System").fill("be short");
  await page.getByLabel("Seed").fill("7");
  await page.getByLabel("JSON schema").fill("{");
  await page.getByText(/^Invalid JSON/).waitFor();
  await page.getByLabel("JSON schema").fill('{"type": "object"}');
  await page.getByLabel("Tools").fill('[{"name": "find"}]');
  await page.locator('input[type="file"]').setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==", "base64") });
  await page.getByText("dot.png").waitFor();
  const sent = page.waitForRequest("**/v1/chat/completions");
  await asks(page, "look");
  const body = (await sent).postDataJSON();
  assert.deepEqual([body.seed, body.response_format.json_schema.schema, body.tools[0].function.name], [7, { type: "object" }, "find"]);
  assert.equal(body.messages[0].content, "be short");
  assert.deepEqual(body.messages[1].content.map((part) => part.type), ["image_url", "text"]);
  await card(page, MINI).getByText("Request details").waitFor();
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByRole("button", { name: "Earlier conversations in this tab" }).click();
  await page.getByRole("button", { name: "look", exact: true }).click();
  await page.getByRole("article", { name: "You" }).getByText("look").waitFor();
  await page.getByRole("button", { name: "Copy as code" }).click();
  await page.getByRole("button", { name: "Python", exact: true }).waitFor();
  assert.deepEqual(await violations(page), []);
  ok("what_is_set_is_sent");
}

/** Each model by the keyboard: a field, its name, Enter. */
async function modelsAnswerSideBySide(page) {
  for (const [at, name] of [MINI, LARGE].entries()) {
    await page.getByRole("button", { name: "Compare with another model" }).focus();
    await page.keyboard.press("Enter");
    await page.keyboard.type(name);
    await page.keyboard.press("Enter");
    await page.waitForURL((url) => url.searchParams.getAll("model").length === at + 2);
  }
  assert.deepEqual(new URL(page.url()).searchParams.getAll("model"), ["echo", MINI, LARGE], "the address asks the same of the next person");
  await asks(page, "Hello, tide.");
  for (const name of ["echo", MINI, LARGE]) await card(page, name).getByText("Request details").waitFor();
  const boxes = await Promise.all(["echo", MINI, LARGE].map((name) => card(page, name).boundingBox()));
  assert.ok(boxes.every((box) => box.y === boxes[0].y) && boxes[0].x < boxes[1].x && boxes[1].x < boxes[2].x, "they stand beside each other");
  assert.ok((await card(page, MINI).innerText()).includes("gpt-4o-mini heard: Hello, tide."));
  ok("models_answer_side_by_side");
}

async function eachAnswerTellsWhatServedIt(page) {
  const grouped = new Intl.NumberFormat("en-US");
  for (const [name, profile] of [["echo", "Your nodes (BYOC)"], [MINI, "Your keys (BYOK)"], [LARGE, "Your keys (BYOK)"]]) {
    await card(page, name).getByText(/\d+ in, \d+ out/).waitFor();
    const id = (await card(page, name).getByRole("link", { name: "Request details" }).getAttribute("href")).split("/").at(-1).split("?")[0];
    const booked = await v2(origin, adminKey, `requests/${id}`);
    const text = (await card(page, name).innerText()).replaceAll(/\s+/g, " ");
    const nanos = booked.cost_nanos > 0 ? booked.cost_nanos : booked.provider_cost_nanos;
    const cost = name === "echo" ? "no token charge" : `$0.${String(nanos).padStart(9, "0").replace(/0+$/, "")} provider cost`;
    for (const said of [name, profile, booked.attempts[0].upstream_model, `${grouped.format(booked.input_tokens)} in, ${grouped.format(booked.output_tokens)} out`, cost]) assert.ok(text.includes(said), `${said} is not in ${text}`);
    assert.match(text, /first byte [\d.]+ (µs|ms|s) /);
    const through = await card(page, name).locator('a[href^="/nodes/"], a[href^="/credentials/"]').getAttribute("href");
    assert.ok(through.endsWith(booked.principal));
  }
  assert.equal(await page.getByText("fastest first byte").count(), 1);
  // What costs nothing is the cheapest of them.
  assert.ok((await card(page, "echo").innerText()).includes("cheapest"));
  assert.deepEqual(await violations(page), []);
  await picture(page, "playground-compared");
  ok("each_answer_tells_what_served_it");
}

async function whatIsLeftOutIsNamed(page) {
  await page.route("**/v1/chat/completions", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, headers: { ...response.headers(), "agent-dropped-params": "temperature, messages[0].cache_control" } });
  });
  await visit(page, `${origin}/playground?model=${encodeURIComponent(MINI)}`);
  await asks(page, "Hello.");
  await card(page, MINI).getByText("Parameters dropped because the provider doesn’t support them: temperature, messages[0].cache_control").waitFor();
  await page.unrouteAll({ behavior: "ignoreErrors" });
  ok("what_is_left_out_is_named");
}

/** Each goes on with its own words; a look at a request does not end it; a model that fails stands alone with it. */
async function conversationGoesOn(page) {
  await visit(page, `${origin}/playground?model=${encodeURIComponent(MINI)}&model=${encodeURIComponent(LARGE)}`);
  await asks(page, "one");
  await card(page, LARGE).getByText("Request details").click();
  await page.getByRole("heading", { level: 1, name: LARGE }).waitFor();
  await page.goBack();
  await card(page, MINI).getByText("gpt-4o-mini heard: one").waitFor();
  heard.length = 0;
  await asks(page, "refuse");
  await card(page, MINI).nth(1).getByRole("alert").getByText("not this one").waitFor();
  await card(page, LARGE).nth(1).getByText("Request details").waitFor();
  heard.length = 0;
  await asks(page, "three");
  for (const name of [MINI, LARGE]) await card(page, name).nth(2).getByText("Request details").waitFor();
  const told = (model) => heard.find((one) => model.endsWith(`/${one.model}`)).messages.map((message) => message.content);
  assert.deepEqual(told(MINI), ["one", "gpt-4o-mini heard: one", "three"], "what failed is not told again");
  assert.deepEqual(told(LARGE), ["one", "gpt-4o heard: one", "refuse", "gpt-4o heard: refuse", "three"]);
  assert.deepEqual(await violations(page), []);
  ok("conversation_goes_on_for_each");
}

async function answersAreStopped(page) {
  await asks(page, "hold");
  for (const name of [MINI, LARGE]) await card(page, name).last().getByText(/heard:/).waitFor();
  assert.equal(await card(page, LARGE).last().getByText("Request details").count(), 0, "it streams, and is not over");
  await page.getByRole("button", { name: "Stop" }).click();
  for (const name of [MINI, LARGE]) await card(page, name).last().getByText("stopped").waitFor();
  for (const finish of held.splice(0)) finish();
  ok("answers_are_stopped");
}

async function itFitsAPhone(page) {
  await page.setViewportSize({ width: 320, height: 640 });
  await page.evaluate(() => new Promise((resume) => requestAnimationFrame(() => requestAnimationFrame(resume))));
  const boxes = await page.locator("article.answer").evaluateAll((all) => all.slice(0, 2).map((one) => one.getBoundingClientRect().toJSON()));
  assert.ok(boxes[0].x === boxes[1].x && boxes[0].bottom <= boxes[1].top, `below each other: ${JSON.stringify(boxes)}`);
  const wide = await page.evaluate(() => [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".visually-hidden, nav")).map((one) => one.outerHTML.slice(0, 120)));
  assert.deepEqual(wide, [], "nothing is wider than the screen");
  await card(page, MINI).first().scrollIntoViewIfNeeded();
  await picture(page, "playground-320");
  await page.setViewportSize({ width: 1280, height: 860 });
  ok("it_fits_a_phone");
}

/** The status that a key gets, once it is what is wanted. */
async function refused(key) {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const answer = await fetch(`${origin}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
    await answer.text();
    if (answer.status === 401) return;
    assert.ok(Date.now() < deadline, `the key is still answered ${answer.status}`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
}

async function keyEndsWithTheVisit(page, calls) {
  const first = calls.at(-1).key;
  assert.match(first, /^tg_live_/);
  const kept = () => page.evaluate(() => document.documentElement.outerHTML + JSON.stringify(sessionStorage) + JSON.stringify(localStorage) + document.cookie);
  assert.ok(!(await kept()).includes(first), "it is kept nowhere");
  // Away from the console.
  await page.goto("about:blank");
  await refused(first);
  // By hand.
  await visit(page, `${origin}/playground?model=echo`);
  await asks(page, "Hello.");
  await card(page, "echo").getByText("Request details").waitFor();
  await page.getByRole("button", { name: "Revoke now" }).click();
  await page.getByText("Your first message creates a temporary API key").waitFor();
  await refused(calls.at(-1).key);
  // By signing out.
  await asks(page, "Hello again.");
  await card(page, "echo").nth(1).getByText("Request details").waitFor();
  await page.getByRole("button", { name: /you and this device/ }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/\/sign-in/);
  await refused(calls.at(-1).key);
  const left = (await v2(origin, adminKey, "api-keys")).data.filter((key) => key.name === "playground" && key.status === "active");
  assert.deepEqual(left, []);
  assert.equal(new Set(calls.map((call) => call.key)).size, 6, "each visit had a key of its own");
  ok("key_ends_with_the_visit");
}

const server = await serve(provider);
try {
  await send("POST", "provider-credentials", { provider: "openai", display_name: "Team account", secret: "sk-x", base_url: `${server.base}/v1` });
  await inBrowser(origin, async (open) => {
    const page = await open();
    const calls = listened(page);
    await page.goto(link);
    await page.getByRole("heading", { level: 1, name: "Home" }).waitFor();
    await keyIsMadeByTheFirstMessage(page);
    await modelsAnswerSideBySide(page);
    await eachAnswerTellsWhatServedIt(page);
    await whatIsLeftOutIsNamed(page);
    await whatIsSetIsSent(page);
    await conversationGoesOn(page);
    await answersAreStopped(page);
    await itFitsAPhone(page);
    await keyEndsWithTheVisit(page, calls);
  });
} finally {
  server.close();
}

// What a project keeps of its requests, in the console: set at its page, opened at a request's, compared with another model, and a
// session as a conversation.
//
// usage: node contents.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { eventually, inBrowser, ok, pictures, signIn, v2, violationsInThemes, visit } from "./browser.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);

async function post(path, body) {
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
  const made = await fetch(`${origin}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  assert.ok(made.status < 300, await made.clone().text());
  return made;
}

/** The id of a request whose content is kept, or, without any, that is in the books. */
async function asked(text, isKept) {
  const messages = [{ role: "user", content: "first" }, { role: "assistant", content: null, tool_calls: [{ id: "c1", type: "function", function: { name: "find_parcel", arguments: '{"parcel":7}' } }] }, { role: "tool", tool_call_id: "c1", content: "on its way" }, { role: "user", content: text }];
  const id = (await post("/v1/chat/completions", { model: "echo", messages })).headers.get("x-request-id");
  await eventually(async () => v2(origin, adminKey, `requests/${id}${isKept ? "/content" : ""}`));
  return id;
}

await inBrowser(origin, async (open) => {
  const page = await open();
  await visit(page, `${origin}/sign-in`);
  await signIn(page, origin, adminKey);
  const before = await asked("before", false);
  await visit(page, `${origin}/requests/${before}`);
  await page.getByRole("button", { name: "Show content", exact: true }).click();
  await page.getByText("No content is stored for this request").waitFor();
  const [project] = (await v2(origin, adminKey, "projects")).data;
  await visit(page, `${origin}/projects/${project.id}`);
  await page.getByRole("link", { name: "Change", exact: true }).click();
  await page.getByLabel("Store", { exact: true }).selectOption("encrypted_full_fidelity");
  await page.getByLabel("Days").fill("7");
  await pictures(page, "retention-form");
  assert.deepEqual(await violationsInThemes(page), []);
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByText("metadata, requests and answers, encrypted").waitFor();
  assert.equal((await v2(origin, adminKey, "retention-profile")).default_retention_days, 7);
  ok("a_project_says_what_it_keeps");

  const id = await asked("Where is my parcel?", true);
  await visit(page, `${origin}/requests/${id}`);
  await page.getByRole("button", { name: "Show content", exact: true }).click();
  const conversation = page.getByRole("list", { name: "The conversation" });
  await conversation.getByText("Where is my parcel?").first().waitFor();
  const calls = conversation.getByRole("list", { name: "Tool calls" });
  assert.match(await calls.innerText(), /find_parcel[^]*parcel[^]*returned[^]*on its way/);
  await page.getByLabel("Another model").fill("echo");
  await page.getByRole("button", { name: "Compare" }).click();
  await page.getByText("Both answers are identical.").waitFor();
  await pictures(page, "content");
  await page.setViewportSize({ width: 390, height: 844 });
  await pictures(page, "content-390");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
  assert.deepEqual(await violationsInThemes(page), []);
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.getByLabel("Another model").fill("no-such-model");
  await page.getByRole("button", { name: "Compare" }).click();
  await page.getByText(/^The response status was 4\d\d/).waitFor();
  ok("content_is_opened_and_compared");

  const session = await (await post("/v2/sessions", { name: "parcels" })).json();
  const path = `/v2/sessions/${session.id}/branches/${session.default_branch_id}/events`;
  await post(path, { expected_version: 0, event: { event_type: "user_message", content: "Where is it?" } });
  await post(path, { expected_version: 1, event: { event_type: "assistant_message", content: { type: "function_call", call_id: "c", name: "find_parcel", arguments: "{}" } } });
  await post(path, { expected_version: 2, event: { event_type: "tool_result", content: { type: "function_call_output", call_id: "c", output: "at the door" } } });
  await visit(page, `${origin}/sessions/${session.id}`);
  await page.getByRole("link", { name: "Show content" }).click();
  await page.getByRole("list", { name: "Tool calls" }).getByText("at the door").waitFor();
  await pictures(page, "session-conversation");
  assert.deepEqual(await violationsInThemes(page), []);
  ok("a_session_is_a_conversation");
});

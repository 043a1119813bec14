// Each provider's credential is added by the form that its kind asks for: no provider is known to the console by name. What is
// typed is sealed, and the provider's cheapest call is made with it, in the header that this provider reads.
//
// usage: node forms.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { inBrowser, ok, picture, signIn, v2, violations, visit } from "./browser.mjs";
import { sendJson, serve } from "./servers.mjs";

const [origin, adminKey] = process.argv.slice(2);

/** Where each provider reads its key. */
const PROVIDERS = {
  anthropic: ["Anthropic", (headers) => headers["x-api-key"]],
  xai: ["xAI", (headers) => headers.authorization?.replace("Bearer ", "")],
  gemini: ["Gemini API", (headers) => headers["x-goog-api-key"]],
  fireworks_ai: ["Fireworks AI", (headers) => headers.authorization?.replace("Bearer ", "")],
  openai: ["OpenAI", (headers) => headers.authorization?.replace("Bearer ", "")],
};

/** Every provider's list of models in one answer, and what was sent to ask for it. */
const seen = [];
const server = await serve((request, response) => {
  seen.push(request.headers);
  sendJson(response, 200, { object: "list", data: [{ id: "a-model", object: "model", type: "model", display_name: "A", created_at: "2026-01-01T00:00:00Z" }], models: [{ name: "models/a-model" }], has_more: false });
});

async function everyKindIsOffered(page) {
  const { data: kinds } = await v2(origin, adminKey, "provider-credentials/kinds");
  // A provider that takes several kinds of secrets is offered once.
  const usable = [...new Set(kinds.filter((kind) => kind.available).map((kind) => kind.display_name))];
  for (const [provider, [name]] of Object.entries(PROVIDERS)) assert.ok(usable.includes(name), provider);
  await visit(page, `${origin}/credentials`);
  const offered = await page.locator(".kinds a").allInnerTexts();
  assert.deepEqual(offered, usable, "each is one click away from the empty page");
  await page.getByRole("link", { name: "Gemini API" }).click();
  const form = page.getByRole("dialog");
  assert.deepEqual(await form.getByLabel("Provider").locator("option").allInnerTexts(), usable);
  assert.equal(await form.getByLabel("Provider").inputValue(), "gemini");
  await page.keyboard.press("Escape");
  await form.waitFor({ state: "detached" });
  ok("every_kind_is_offered");
}

async function eachProviderIsAdded(page) {
  const base_url = server.base;
  for (const [provider, [name, keyIn]] of Object.entries(PROVIDERS)) {
    const secret = `secret-of-${provider}-0123456789`;
    const kind = (await v2(origin, adminKey, "provider-credentials/kinds")).data.find((one) => one.provider === provider);
    await visit(page, `${origin}/credentials?new=${provider}`);
    const form = page.getByRole("dialog");
    await form.getByText(`The value of ${kind.environment_variable}.`).waitFor();
    assert.equal(await form.getByLabel("Base URL").getAttribute("placeholder"), kind.base_url);
    assert.deepEqual(await violations(page), []);
    if (provider === "anthropic") await picture(page, "credential-form-anthropic");
    // By the keyboard from the key on, as somebody who pastes does.
    await form.getByLabel("API key").fill(secret);
    await form.getByLabel("Name").fill(`${name}, ours`);
    await form.getByLabel("Base URL").fill(base_url);
    seen.length = 0;
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: `${name}, ours` }).waitFor();
    await page.getByText("active", { exact: true }).waitFor();
    assert.equal(keyIn(seen.at(-1) ?? {}), secret, `${provider}: ${JSON.stringify(seen)}`);
    const made = (await v2(origin, adminKey, `provider-credentials?provider=${provider}`)).data;
    assert.deepEqual(made.map((one) => [one.provider, one.status, one.base_url]), [[provider, "active", base_url]]);
    assert.ok(made[0].last_verified_at);
    const kept = await page.evaluate(() => document.documentElement.outerHTML + JSON.stringify(sessionStorage) + JSON.stringify(localStorage));
    assert.ok(!kept.includes(secret), "no secret stays on the page");
  }
  ok("each_provider_is_added_by_its_form");
}

/** A kind of a later server: its fields are asked for as its schema says, secrets hidden, choices to choose from. */
async function formsFollowTheirSchema(page) {
  const schema = {
    type: "object",
    required: ["access_key_id", "secret_access_key", "region"],
    properties: {
      region: { type: "string", title: "Region", enum: ["eu-north", "us-east"] },
      access_key_id: { type: "string", writeOnly: true },
      secret_access_key: { type: "string", writeOnly: true, description: "Shown once, when it was made." },
    },
  };
  await page.route("**/v2/provider-credentials/kinds", async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    body.data.push({ provider: "later", display_name: "Later", synonyms: [], auth: "api_key", title: "Keys", says: "", is_host_identity: false, permission: null, available: true, custom: false, base_url: "https://later.example", base_url_example: null, environment_variable: null, schema });
    await route.fulfill({ response, json: body });
  });
  const posted = page.waitForRequest((request) => request.method() === "POST" && new URL(request.url()).pathname === "/v2/provider-credentials");
  await visit(page, `${origin}/credentials?new=later`);
  const form = page.getByRole("dialog");
  assert.equal(await form.getByLabel("Access key id").getAttribute("type"), "password");
  await form.getByText("Shown once, when it was made.").waitFor();
  await form.getByLabel("Access key id").fill("an-id");
  await form.getByLabel("Secret access key").fill("a-secret");
  await form.getByLabel("Region").selectOption("us-east");
  assert.deepEqual(await violations(page), []);
  await form.getByRole("button", { name: "Save and verify" }).click();
  const sent = (await posted).postDataJSON();
  assert.deepEqual([sent.provider, sent.secret, sent.config], ["later", { access_key_id: "an-id", secret_access_key: "a-secret" }, { region: "us-east" }]);
  // This server is not that late: it says so in the form, and what was typed is still there.
  await form.getByRole("alert").waitFor();
  assert.equal(await form.getByLabel("Access key id").inputValue(), "an-id");
  await page.unrouteAll({ behavior: "ignoreErrors" });
  ok("forms_follow_their_schema");
}

try {
  await inBrowser(origin, async (open) => {
    const page = await open();
    await signIn(page, origin, adminKey);
    await everyKindIsOffered(page);
    await eachProviderIsAdded(page);
    await formsFollowTheirSchema(page);
  });
} finally {
  server.close();
}

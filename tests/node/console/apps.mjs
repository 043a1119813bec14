// Own apps in the console: a server is declared, its secret is sealed, it runs, and both are changed and deleted by hand.
//
// usage: node apps.mjs ORIGIN ADMIN_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { eventually, inBrowser, ok, pictures, signIn, v2, violationsInThemes, visit } from "./browser.mjs";
import { sendJson, serve } from "./servers.mjs";

const [origin, adminKey] = process.argv.slice(2);
const FIRST = "sk-first-4711";
const SECOND = "sk-second-0815";
const SCHEMA = { type: "object", required: ["number"], properties: { number: { type: "string", title: "Number" }, unused: { type: "string" } } };

/** A customer's server, which keeps what it was sent. */
const sent = [];
const shop = await serve((request, response) => {
  sent.push({ path: request.url, token: request.headers.authorization });
  sendJson(response, 200, { text: `the invoice at ${request.url}` });
});
const { host } = new URL(shop.base);

const DOCUMENT = {
  openapi: "3.1.0",
  info: { title: "Shop", version: "1" },
  servers: [{ url: shop.base }],
  paths: {
    "/orders": { get: { operationId: "listOrders", summary: "Lists orders", responses: { 200: { description: "Orders" } } }, post: { operationId: "makeOrder", responses: { 200: { description: "Order" } } } },
  },
};

const apps = async () => (await v2(origin, adminKey, "apps")).data;
const secrets = async () => (await v2(origin, adminKey, "secrets")).data;
/** What has the keyboard. */
const focused = (page) => page.evaluate(() => document.activeElement.labels?.[0]?.textContent.replace(" optional", ""));

async function look(page, name) {
  await pictures(page, name);
  assert.deepEqual(await violationsInThemes(page), []);
  await page.setViewportSize({ width: 390, height: 844 });
  await pictures(page, `${name}-390`);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `${name} is ${width} px wide`);
  await page.setViewportSize({ width: 1280, height: 860 });
}

async function declare(page) {
  await page.getByRole("link", { name: "Your apps" }).click();
  await page.getByText("No apps of your own yet.").waitFor();
  await look(page, "own-apps-new");
  await page.getByRole("link", { name: "Add an app" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Name", { exact: true }).fill("openai/invoices");
  await form.getByLabel("Description").fill("Fetches an invoice");
  await form.getByLabel("Method").selectOption("GET");
  await form.getByLabel("Address").fill(`${shop.base}/invoices/{number}`);
  await form.getByLabel("Input schema").fill('{\n"type" "object"}');
  await form.getByRole("button", { name: "Add a secret" }).click();
  await form.getByLabel("Secret", { exact: true }).fill("SHOP_KEY");
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await form.getByText(/^Line 2: /).waitFor();
  await form.getByLabel("Input schema").fill(JSON.stringify(SCHEMA));
  await form.getByRole("button", { name: "Add", exact: true }).click();
  // What the server refuses is told at its field, where the keyboard is.
  await form.getByText(/is reserved for models/).waitFor();
  await eventually(async () => assert.equal(await focused(page), "Name"));
  assert.equal(await form.getByLabel("Name", { exact: true }).getAttribute("aria-invalid"), "true");
  await look(page, "own-apps-form");
  await form.getByLabel("Name", { exact: true }).fill("acme/invoices");
  await page.keyboard.press("Enter");
  await page.getByRole("rowheader", { name: /acme\/invoices/ }).waitFor();
  const [app] = await apps();
  assert.deepEqual([app.name, app.method, app.input_schema, app.secrets.map(({ name }) => name)], ["acme/invoices", "GET", SCHEMA, ["SHOP_KEY"]]);
  await page.getByText("missing", { exact: true }).waitFor();
  ok("an_app_is_declared");
}

async function seal(page) {
  await page.getByRole("link", { name: "Secrets" }).click();
  await page.getByText("No secrets yet.").waitFor();
  await page.getByRole("link", { name: "Add a secret" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Name", { exact: true }).fill("SHOP_KEY");
  await form.getByLabel("Value").fill(FIRST);
  await form.getByLabel("Hosts").fill("https://no.host/at-all");
  await form.getByRole("button", { name: "Save" }).click();
  await form.getByText(/^This isn't a host/).waitFor();
  await form.getByLabel("Hosts").fill(host);
  await form.getByRole("button", { name: "Save" }).click();
  await page.getByRole("rowheader", { name: "SHOP_KEY" }).waitFor();
  await page.getByText("acme/invoices").waitFor();
  await look(page, "secrets");
  const [secret] = await secrets();
  assert.deepEqual([secret.name, secret.hosts], ["SHOP_KEY", [host]]);
  assert.ok(!(await page.content()).includes(FIRST));
  ok("a_secret_is_sealed");
}

async function run(page, token) {
  await page.getByRole("link", { name: "Your apps" }).click();
  await page.getByText("set", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Run acme/invoices" }).click();
  await page.getByRole("textbox", { name: "Number" }).fill("202617");
  const before = sent.length;
  await page.getByRole("button", { name: "Run", exact: true }).click();
  // An earlier run's result may be there still.
  await eventually(async () => assert.equal(sent.length, before + 1));
  await page.getByText("the invoice at /invoices/202617").first().waitFor();
  assert.deepEqual(sent.at(-1), { path: "/invoices/202617", token: `Bearer ${token}` });
  await page.getByRole("link", { name: "Your apps" }).click();
  await page.getByRole("cell", { name: /completed/ }).waitFor();
}

async function change(page) {
  await run(page, FIRST);
  await look(page, "own-apps");
  await page.getByRole("link", { name: "Edit acme/invoices" }).click();
  const form = page.getByRole("dialog");
  const schema = structuredClone(SCHEMA);
  delete schema.properties.unused;
  await form.getByLabel("Input schema").fill(JSON.stringify(schema));
  await form.getByRole("button", { name: "Save" }).click();
  await form.waitFor({ state: "detached" });
  assert.deepEqual((await apps())[0].input_schema, schema);
  // What changed is shown by version, and the older one can be run.
  await page.getByRole("link", { name: /^version \d of acme\/invoices/ }).click();
  await form.getByText("/input_schema/properties/unused").waitFor();
  await form.getByRole("status").getByText("1 change").waitFor();
  await look(page, "own-apps-versions");
  await form.getByRole("link", { name: "Run acme/invoices@1" }).click();
  await page.getByRole("textbox", { name: "unused" }).waitFor();
  // A host that was not there before needs the value again, and the old one is not shown for it.
  await page.getByRole("link", { name: "Secrets" }).click();
  await page.getByRole("link", { name: "Replace SHOP_KEY" }).click();
  assert.equal(await form.getByLabel("New value").inputValue(), "");
  await form.getByLabel("Hosts").fill(`${host}, api.acme.example`);
  await form.getByRole("button", { name: "Save" }).click();
  await form.getByText(/^The secret would be sent to another host/).waitFor();
  await form.getByLabel("New value").fill(SECOND);
  await form.getByRole("button", { name: "Save" }).click();
  await form.waitFor({ state: "detached" });
  await run(page, SECOND);
  ok("an_app_and_its_secret_are_changed");
}

async function bring(page) {
  await page.getByRole("link", { name: "Import OpenAPI" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Namespace").fill("acme");
  await form.getByLabel("File").setInputFiles({ name: "shop.json", mimeType: "application/json", buffer: Buffer.from("{}") });
  await form.getByRole("button", { name: "Import" }).click();
  await eventually(async () => assert.equal(await form.getByLabel("Document").getAttribute("aria-invalid"), "true"));
  await form.getByLabel("File").setInputFiles({ name: "shop.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(DOCUMENT)) });
  await eventually(async () => assert.equal(await form.getByLabel("Document").inputValue(), JSON.stringify(DOCUMENT)));
  await look(page, "own-apps-import");
  await form.getByRole("button", { name: "Import" }).click();
  await page.getByRole("rowheader", { name: /acme\/listOrders/ }).waitFor();
  assert.deepEqual((await apps()).map(({ name }) => name).sort(), ["acme/invoices", "acme/listOrders", "acme/makeOrder"]);
  ok("a_document_is_imported");
}

async function drop(page) {
  await page.getByRole("button", { name: "Delete acme/makeOrder" }).click();
  const box = page.getByRole("dialog", { name: "Delete acme/makeOrder" });
  await box.getByRole("button", { name: "Cancel" }).click();
  assert.equal((await apps()).length, 3);
  await page.getByRole("button", { name: "Delete acme/makeOrder" }).click();
  await box.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("rowheader", { name: /acme\/makeOrder/ }).waitFor({ state: "detached" });
  assert.equal((await apps()).length, 2);
  await page.getByRole("link", { name: "Secrets" }).click();
  await page.getByRole("button", { name: "Delete SHOP_KEY" }).click();
  await page.getByText(/^Its encrypted value is destroyed. Runs of acme\/invoices are refused/).waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByText("No secrets yet.").waitFor();
  assert.deepEqual(await secrets(), []);
  ok("both_are_deleted_after_a_question");
}

try {
  await inBrowser(origin, async (open) => {
    const page = await open();
    await visit(page, `${origin}/sign-in`);
    await signIn(page, origin, adminKey);
    await visit(page, `${origin}/gallery`);
    for (const step of [declare, seal, change, bring, drop]) await step(page);
  });
} finally {
  shop.close();
}

// Projects by hand: made, renamed, with their keys, budgets and rules, and deleted once nothing belongs to them.
//
// usage: node projects.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { inBrowser, ok, signIn, v2, visit } from "./browser.mjs";
import { isForEveryone } from "./everyone.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey] = process.argv.slice(2);

async function projectIsMadeAndRenamed(page) {
  await visit(page, `${origin}/projects`);
  await page.getByRole("link", { name: "Create a project" }).focus();
  await page.keyboard.press("Enter");
  const form = page.getByRole("dialog");
  await form.getByLabel("Name").waitFor();
  await page.keyboard.type("checkout");
  await form.getByLabel("Environment").fill("staging");
  await isForEveryone(page, "project-new");
  await form.getByRole("button", { name: "Create", exact: true }).click();
  await form.waitFor({ state: "detached" });
  const made = (await v2(origin, adminKey, "projects")).data.find(({ name }) => name === "checkout");
  assert.equal(made.environment, "staging");
  await page.getByRole("link", { name: "checkout" }).click();
  await page.getByRole("heading", { level: 1, name: "checkout" }).waitFor();
  await page.getByRole("link", { name: "Edit", exact: true }).click();
  await form.getByLabel("Name").fill("till");
  await form.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { level: 1, name: "till" }).waitFor();
  assert.equal((await v2(origin, adminKey, `projects/${made.id}`)).name, "till");
  ok("project_is_made_and_renamed");
  return made.id;
}

async function whatBelongsToItIsShown(page, id) {
  await send("POST", "policies", { workspace: true, allowed_providers: ["openai", "anthropic"], limits: { max_output_tokens: 900 } });
  await send("POST", "policies", { project_id: id, limits: { max_output_tokens: 100 } });
  const key = await send("POST", "api-keys", { name: "till-app", project_id: id });
  await send("POST", "budgets", { project_id: id, limit_micros: 5_000_000, period: "month" });
  await visit(page, `${origin}/projects/${id}`);
  const rules = page.getByRole("table", { name: "Effective rules" });
  await rules.getByRole("row").filter({ hasText: "anthropic" }).getByText("inherited").waitFor();
  await rules.getByRole("row").filter({ hasText: "100 output tokens" }).getByText("tightened").waitFor();
  await page.getByRole("table", { name: "Keys of the project" }).getByText("till-app").waitFor();
  await page.getByRole("table", { name: "Budgets of the project" }).getByText("$5.00 a month").waitFor();
  await isForEveryone(page, "project");
  await page.getByRole("link", { name: "Projects" }).last().click();
  const row = page.getByRole("row").filter({ hasText: "till" });
  await row.getByText("tightened").waitFor();
  assert.match((await row.innerText()).replaceAll(/\s+/g, " "), /till staging 1 1 tightened/);
  await isForEveryone(page, "projects");
  ok("what_belongs_to_it_is_shown");
  return key.id;
}

/** Of the project and of its key: a wrong origin is refused at its field, right ones are there again after a reload. */
async function originsAreKept(page, id, key) {
  const wanted = ["https://till.example", "https://shop.example"];
  for (const [path, address, fact] of [[`projects/${id}`, `/projects/${id}?edit=1`, wanted.join(", ")], [`api-keys/${key}`, `/keys?edit=${key}`, "2 origins"]]) {
    await visit(page, origin + address);
    const form = page.getByRole("dialog");
    const field = form.getByLabel("Allowed origins");
    await field.fill("https://till.example/pay");
    await form.getByRole("button", { name: "Save" }).click();
    await form.getByText('"https://till.example/pay" isn\'t an origin. Write it as browsers send it').waitFor();
    assert.equal(await field.getAttribute("aria-invalid"), "true");
    assert.equal(await form.getByRole("alert").count(), 0, "it is told once, at the field");
    await field.fill(wanted.join(", "));
    await form.getByRole("button", { name: "Save" }).click();
    await form.waitFor({ state: "detached" });
    assert.deepEqual((await v2(origin, adminKey, path)).origins, wanted);
    await visit(page, origin + address);
    assert.equal(await field.inputValue(), wanted.join("\n"));
    await page.getByText(fact, { exact: true }).waitFor();
  }
  ok("origins_are_kept");
}

async function projectIsDeletedOnceEmpty(page, id, key) {
  await visit(page, `${origin}/projects/${id}`);
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  const form = page.getByRole("dialog");
  await form.getByRole("textbox").fill("till");
  await form.getByRole("button", { name: "Delete" }).click();
  await form.getByRole("alert").getByText("project_not_empty").waitFor();
  await page.keyboard.press("Escape");
  await send("DELETE", `api-keys/${key}`);
  const empty = await send("POST", "projects", { name: "shed" });
  await visit(page, `${origin}/projects/${empty.id}`);
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await form.getByRole("textbox").fill("shed");
  await form.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { level: 1, name: "Projects" }).waitFor();
  assert.ok(!(await v2(origin, adminKey, "projects")).data.some(({ name }) => name === "shed"));
  ok("project_is_deleted_once_empty");
}

await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  const id = await projectIsMadeAndRenamed(page);
  const key = await whatBelongsToItIsShown(page, id);
  await originsAreKept(page, id, key);
  await projectIsDeletedOnceEmpty(page, id, key);
});

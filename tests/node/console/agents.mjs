// Agents in the console: one is defined by hand, and talked with.
//
// usage: node agents.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { inBrowser, ok, pictures, signIn, v2, violationsInThemes, visit } from "./browser.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);

await inBrowser(origin, async (open) => {
  const page = await open();
  await visit(page, `${origin}/sign-in`);
  await signIn(page, origin, adminKey);
  await visit(page, `${origin}/agents`);
  await page.getByRole("link", { name: "Create an agent" }).click();
  await page.getByLabel("Name").fill("helper");
  await page.getByLabel("Model").fill("echo");
  await page.getByLabel("Instructions").fill("Be short.");
  await page.getByRole("button", { name: "Create", exact: true }).click();
  await page.getByRole("rowheader", { name: "helper" }).waitFor();
  const [agent] = (await v2(origin, adminKey, "agents")).data;
  assert.deepEqual([agent.name, agent.version, agent.definition.model], ["helper", 1, "echo"]);
  ok("an_agent_is_defined");
  await page.getByRole("button", { name: "Chat" }).click();
  const key = page.getByLabel("API key");
  if ((await key.count()) > 0) await key.fill(apiKey);
  await page.getByRole("textbox", { name: "Message" }).fill("hello there");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("article", { name: "assistant" }).getByText("hello there").waitFor();
  await pictures(page, "agents");
  assert.deepEqual(await violationsInThemes(page), []);
  ok("it_answers_in_a_chat");
});

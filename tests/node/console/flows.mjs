// A flow in the console: edited as text beside its graph, with each problem at its line, compared, and saved as a version.
//
// usage: node flows.mjs ORIGIN ADMIN_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { eventually, inBrowser, ok, pictures, signIn, v2, violationsInThemes, visit } from "./browser.mjs";

const [origin, adminKey] = process.argv.slice(2);

const FIRST = { name: "greet", steps: { hello: { kind: "expression", expression: "'hi ' + input.name" }, loud: { kind: "expression", expression: "hello.output.upperAscii()" } } };
const written = (document) => JSON.stringify(document, null, 2);

async function post(path, body) {
  const headers = { authorization: `Bearer ${adminKey}`, "content-type": "application/json" };
  const answer = await fetch(`${origin}/v2/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  assert.ok(answer.ok, await answer.clone().text());
  return answer.json();
}

await inBrowser(origin, async (open) => {
  const flow = await post("flows", { document: FIRST });
  const page = await open();
  await visit(page, `${origin}/sign-in`);
  await signIn(page, origin, adminKey);
  await visit(page, `${origin}/flows`);
  await page.getByRole("link", { name: "greet" }).click();
  const text = page.getByRole("textbox", { name: "Document of the flow, in JSON" });
  const state = page.getByRole("status").filter({ hasText: /problem|change|Checking/ });
  await state.getByText("No change").waitFor();
  assert.equal(await text.inputValue(), written(FIRST));
  assert.equal(await page.getByRole("img", { name: /^2 steps/ }).count(), 1);

  // A text that isn't JSON, and one that is no flow: each says where.
  await text.fill(written(FIRST).replace('"greet",', '"greet"'));
  await page.getByText("Expected a comma or a closing brace.").waitFor();
  await page.getByRole("button", { name: "Line 3", exact: true }).waitFor();
  const wrong = structuredClone(FIRST);
  wrong.steps.loud.expression = "nobody.output +";
  await text.fill(written(wrong));
  const line = written(wrong).split("\n").findIndex((one) => one.includes("nobody")) + 1;
  const turn = page.getByRole("button", { name: `Line ${line}`, exact: true });
  await turn.waitFor();
  assert.equal(await text.getAttribute("aria-invalid"), "true");
  assert.equal(await page.getByRole("button", { name: "Review and save" }).isDisabled(), true);
  await pictures(page, "flow-problem");
  await turn.focus();
  await page.keyboard.press("Enter");
  const caret = await text.evaluate((area) => area.value.slice(0, area.selectionStart).split("\n").length);
  assert.deepEqual([caret, await text.evaluate((area) => document.activeElement === area)], [line, true]);
  assert.deepEqual(await violationsInThemes(page), []);
  ok("each_problem_is_at_its_line");

  // The graph follows the text, and what changes is shown before it is saved.
  const next = structuredClone(FIRST);
  next.steps.twice = { kind: "expression", expression: "loud.output + loud.output" };
  next.steps.hello.expression = "'hello ' + input.name";
  await text.fill(written(next));
  await page.getByRole("img", { name: /^3 steps/ }).waitFor();
  await state.getByText("No problems; 2 changes").waitFor();
  await page.getByRole("button", { name: "Review and save" }).focus();
  await page.keyboard.press("Enter");
  const changes = page.getByRole("region", { name: "Changes to version 1" });
  await changes.getByText("/steps/hello/expression").waitFor();
  await changes.getByText("/steps/twice").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Changes to version 1");
  await pictures(page, "flow-changes");
  await page.setViewportSize({ width: 390, height: 844 });
  await pictures(page, "flow-changes-390");
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `the page is ${width} px wide`);
  assert.deepEqual(await violationsInThemes(page), []);
  await page.setViewportSize({ width: 1280, height: 860 });
  assert.equal((await v2(origin, adminKey, `flows/${flow.id}`)).version, 1);
  await page.getByRole("button", { name: "Save as version 2" }).click();
  await page.getByRole("heading", { name: "greet version 2" }).waitFor();
  await eventually(async () => assert.deepEqual((await v2(origin, adminKey, `flows/${flow.id}`)).document, next));
  ok("a_version_is_compared_and_saved");

  // Somebody else stores a version meanwhile: theirs stays.
  const theirs = structuredClone(next);
  theirs.steps.hello.expression = "'hey ' + input.name";
  await post(`flows/${flow.id}/versions`, { document: theirs });
  await text.fill(written(FIRST));
  await state.getByText(/^No problems; /).waitFor();
  await page.getByRole("button", { name: "Review and save" }).click();
  await page.getByRole("button", { name: "Save as version 3" }).click();
  await page.getByRole("alert").waitFor();
  assert.deepEqual((await v2(origin, adminKey, `flows/${flow.id}`)).document, theirs);
  assert.equal(await text.inputValue(), written(FIRST));
  ok("a_version_of_somebody_else_is_not_overwritten");
});

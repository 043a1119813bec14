// The models that can be asked for and what they can do: every price and every fact on the pages is the server's own, with the
// place where it was read; what is searched, sorted and chosen is in the address; and a model leads to what would serve it.
//
// usage: node models.mjs ORIGIN ADMIN_KEY API_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { eventually, inBrowser, ok, picture, signIn, v2, violations, visit } from "./browser.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey] = process.argv.slice(2);
const get = (path) => v2(origin, adminKey, path);

const texts = async (locator) => (await locator.allInnerTexts()).map((text) => text.replaceAll(/\s+/g, " ").trim());
const query = (page) => new URL(page.url()).searchParams;
const wanted = (page, name, value) => page.waitForURL((url) => url.searchParams.get(name) === value);
/** Names of the rows in their order, without what stands beside them. */
const names = (page) => page.locator("tbody th a").allInnerTexts();

function dollars(micros) {
  const digits = String(micros).padStart(7, "0");
  return `$${new Intl.NumberFormat("en-US").format(Number(digits.slice(0, -6)))}.${digits.slice(-6).replace(/0+$/, "").padEnd(2, "0")}`;
}

/** The offer that a row tells of. */
function lowest(model) {
  const cost = ({ price }) => (price ? price.input_micros_per_million + price.output_micros_per_million : Infinity);
  return model.offers.toSorted((a, b) => cost(a) - cost(b))[0];
}

async function catalogueIsTheServers(page) {
  await visit(page, `${origin}/models`);
  const book = await get("price-books");
  assert.ok(book.data.length > 50 && book.data.some((model) => lowest(model).price === null) && book.data.some((model) => lowest(model).until));
  const rows = await texts(page.locator("tbody tr"));
  assert.equal(rows.length, book.data.length + 1, "the models that are sold, and the node's");
  book.data.forEach((model, at) => {
    const offer = lowest(model);
    assert.ok(rows[at].startsWith(model.model), rows[at]);
    const said = [model.context_tokens, model.output_tokens_max].filter((tokens) => tokens !== null).map((tokens) => new Intl.NumberFormat("en-US").format(tokens));
    if (offer.price) said.push(dollars(offer.price.input_micros_per_million), dollars(offer.price.output_micros_per_million), offer.as_of ?? offer.checked);
    else said.push("price unknown");
    if (offer.price?.cached_input_micros_per_million) said.push(dollars(offer.price.cached_input_micros_per_million));
    if (offer.until && offer.price) said.push(`until ${offer.until}`);
    for (const one of said) assert.ok(rows[at].includes(one), `${one} is not in ${rows[at]}`);
  });
  assert.match(rows.at(-1), /^echo Your nodes .*no token charge/);
  assert.ok((await page.locator("main").innerText()).includes(book.revision));
  // A day leads to where its price was read; what is asked of elsewhere is only what somebody follows.
  const led = book.data.findIndex((model) => lowest(model).price && /^https:/.test(lowest(model).source));
  const link = page.locator("tbody tr").nth(led).getByRole("link", { name: lowest(book.data[led]).as_of ?? lowest(book.data[led]).checked });
  assert.ok(lowest(book.data[led]).source.startsWith(await link.getAttribute("href")));
  assert.deepEqual([await link.getAttribute("target"), await link.getAttribute("rel")], ["_blank", "noreferrer"]);
  await picture(page, "models");
  ok("catalogue_is_the_servers");
}

async function catalogueIsSearchedAndSorted(page) {
  await visit(page, `${origin}/models`);
  const { data } = await get("price-books");
  await page.locator("body").press("/");
  await page.keyboard.type("Anthropic OPUS");
  await wanted(page, "find", "Anthropic OPUS");
  const opus = data.filter((model) => model.model.includes("opus")).map((model) => model.model);
  assert.ok(opus.length > 1);
  await eventually(async () => assert.deepEqual(await names(page), opus));
  await page.getByRole("status").getByText(`${opus.length} of ${data.length + 1} models`).waitFor();
  // By the keyboard: a heading sorts upwards, downwards, and lets go.
  const heading = page.getByRole("columnheader", { name: "Output", exact: true });
  await heading.getByRole("button").focus();
  const cost = (name) => lowest(data.find((model) => model.model === name)).price?.output_micros_per_million ?? null;
  for (const [sort, aria, direction] of [["output", "ascending", 1], ["-output", "descending", -1]]) {
    await page.keyboard.press("Enter");
    await wanted(page, "sort", sort);
    await eventually(async () => {
      assert.equal(await heading.getAttribute("aria-sort"), aria);
      const costs = (await names(page)).map(cost);
      const priced = costs.filter((one) => one !== null);
      assert.deepEqual(costs.slice(0, priced.length), priced, "what has no price stands last");
      assert.deepEqual(priced, priced.toSorted((a, b) => (a - b) * direction));
    });
  }
  assert.deepEqual(await violations(page), []);
  const shown = await names(page);
  await page.reload();
  await page.locator("tbody tr").first().waitFor();
  await eventually(async () => assert.deepEqual(await names(page), shown, "the address says all of it"));
  await page.getByRole("columnheader", { name: "Output", exact: true }).getByRole("button").press("Enter");
  await wanted(page, "sort", null);
  await eventually(async () => assert.equal(await heading.getAttribute("aria-sort"), null));
  // By seller, by modality, and what nobody has.
  await visit(page, `${origin}/models`);
  await page.locator("label", { hasText: /^from/ }).locator("select").selectOption({ label: "Gemini API" });
  await wanted(page, "seller", "gemini");
  const gemini = (await get("price-books?provider=gemini")).data.map((model) => model.model);
  await eventually(async () => assert.deepEqual(await names(page), gemini));
  await page.locator("label", { hasText: /^for/ }).locator("select").selectOption("embedding");
  await wanted(page, "modality", "embedding");
  const embeddings = (await get("price-books?provider=gemini")).data.filter((model) => model.modality === "embedding").map((model) => model.model);
  await eventually(async () => assert.deepEqual(await names(page), embeddings));
  await page.goBack();
  await eventually(() => assert.deepEqual([query(page).get("seller"), query(page).get("modality")], ["gemini", null]));
  await page.getByLabel("Find a model").fill("nothing like it");
  await page.getByText(`0 of ${data.length + 1} models match.`).waitFor();
  await page.getByRole("link", { name: "Clear the search" }).click();
  await page.locator("tbody tr").nth(gemini.length).waitFor();
  await eventually(() => assert.equal(query(page).toString(), ""));
  ok("catalogue_is_searched_and_sorted");
}

const LINES = { input: "Input", cached_input: "Cached input", cache_write: "Cache write", cache_write_long: "Long-lived cache write", output: "Output" };

async function modelTellsItsOffersAndFacts(page) {
  const { data } = await get("price-books");
  const model = data.find((one) => one.offers[0].long_prompt && one.offers[0].until);
  const [offer] = model.offers;
  // The row is opened where it is clicked, not only at its name.
  await visit(page, `${origin}/models`);
  await page.locator("tbody tr").filter({ has: page.getByRole("link", { name: model.model, exact: true }) }).locator("td").nth(1).click();
  await page.getByRole("heading", { level: 1, name: model.model, exact: true }).waitFor();
  const prices = page.getByRole("table", { name: /^Prices of/ });
  const rows = await texts(prices.locator("tbody tr"));
  const expected = Object.entries(LINES).flatMap(([line, words]) => {
    const amounts = [offer.price, offer.long_prompt.price].map((price) => price[`${line}_micros_per_million`]);
    return amounts.every((one) => one === null) ? [] : [`${words} ${amounts.map((one) => (one === null ? "–" : dollars(one))).join(" ")}`];
  });
  assert.deepEqual(rows, expected);
  await page.getByRole("table", { name: `What ${model.model} can do` }).waitFor();
  const main = await page.locator("main").innerText();
  for (const said of [offer.upstream_model, offer.checked, offer.until, new Intl.NumberFormat("en-US").format(offer.long_prompt.above_tokens)]) assert.ok(main.includes(said), said);
  assert.ok(main.replaceAll(/\s+/g, " ").includes(offer.source), "the source as it stands in the catalogue");
  // Its own facts before its provider's.
  const manifest = await get(`capabilities?provider=${offer.provider}`);
  const [{ facts, models }] = manifest.data;
  const speaking = models.flatMap((row) => row.names.filter((name) => name === offer.upstream_model || (name.endsWith("*") && offer.upstream_model.startsWith(name.slice(0, -1)))).map((name) => [name, row.facts]));
  speaking.sort(([a], [b]) => a.endsWith("*") - b.endsWith("*") || b.length - a.length);
  assert.ok(speaking.length > 0);
  const held = { ...facts };
  for (const [, own] of speaking.toReversed()) Object.assign(held, own);
  // A model's own context is in the catalogue's row of it; what the provider says of all is its longest.
  assert.ok(model.context_tokens > 0);
  held.context_window_max_tokens = { value: model.context_tokens };
  const table = page.getByRole("table", { name: `What ${model.model} can do` });
  assert.equal(await table.locator("[data-fact]").count(), Object.keys(held).length);
  for (const [name, fact] of Object.entries(held)) {
    const cell = (await table.locator(`[data-fact="${name}"] td`).innerText()).replaceAll(/\s+/g, " ");
    if (fact.value === undefined) assert.equal(cell, "unverified", name);
    else if (name === "context_window_max_tokens") assert.equal(cell, `${new Intl.NumberFormat("en-US").format(fact.value)} tokens this model’s catalogue entry`);
    else assert.ok(cell.includes(`${fact.checked}: ${fact.source}`), `${name}: ${cell}`);
  }
  assert.ok(main.includes(manifest.revision));
  // Nothing serves it here, and why is told as the plan tells it.
  const plan = await send("POST", "plan", { model: model.model });
  const explain = page.getByRole("region", { name: "What would serve it?" });
  await explain.getByText(plan.error.detail).waitFor();
  for (const rejected of plan.rejected) assert.ok((await explain.innerText()).includes(rejected.detail), rejected.detail);
  assert.deepEqual(await violations(page), []);
  await picture(page, "model");
  // Back is back in the list.
  await page.goBack();
  await page.getByRole("heading", { level: 1, name: "Models" }).waitFor();
  ok("model_tells_its_offers_and_facts");
}

async function modelLeadsToItsTrial(page) {
  await visit(page, `${origin}/models?find=echo`);
  await page.getByRole("link", { name: "echo", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "echo", exact: true }).waitFor();
  await page.getByText("first choice").waitFor();
  await page.getByText("nodes report only model names").waitFor();
  await page.getByRole("link", { name: "Try it" }).click();
  await page.getByRole("heading", { level: 1, name: "Playground" }).waitFor();
  await wanted(page, "model", "echo");
  await page.getByRole("link", { name: "price and capabilities" }).click();
  await page.getByRole("heading", { level: 1, name: "echo", exact: true }).waitFor();
  // What is not for talking is not tried by talking; what nobody knows is said to be unknown.
  const embedding = (await get("price-books")).data.find((model) => model.modality === "embedding");
  await visit(page, `${origin}/models/${encodeURIComponent(embedding.model)}`);
  await page.getByText("Plans are available for chat models only.").waitFor();
  assert.equal(await page.getByRole("link", { name: "Try it" }).count(), 0);
  await visit(page, `${origin}/models/nobody%2Fknows-it`);
  await page.getByText("No known provider or node offers this model.").waitFor();
  assert.deepEqual(await violations(page), []);
  ok("model_leads_to_its_trial");
}

const isSaid = (fact) => fact !== undefined && fact.value !== undefined;

async function manifestIsTheServers(page) {
  const manifest = await get("capabilities");
  assert.ok(manifest.data.length >= 5);
  await visit(page, `${origin}/capabilities`);
  assert.ok((await page.locator("main").innerText()).includes(manifest.revision));
  // Side by side: as many values and as many unverified as the server has.
  const everything = new Set(manifest.data.flatMap((one) => Object.keys(one.facts)));
  assert.equal(await page.locator("[data-fact]").count(), everything.size);
  for (const name of everything) {
    const cells = await texts(page.locator(`[data-fact="${name}"] td`));
    assert.deepEqual(cells.map((cell) => cell !== "unverified"), manifest.data.map((one) => isSaid(one.facts[name])), name);
  }
  const cells = await texts(page.locator('[data-fact="prompt_cache_min_tokens"] td'));
  assert.deepEqual(cells, manifest.data.map(({ facts: { prompt_cache_min_tokens: fact } }) => (isSaid(fact) ? `${new Intl.NumberFormat("en-US").format(fact.value)} tokens` : "unverified")));
  await picture(page, "capabilities");
  for (const one of manifest.data) {
    await visit(page, `${origin}/capabilities?provider=${one.provider}`);
    const own = page.getByRole("region", { name: "All models" });
    for (const [name, fact] of Object.entries(one.facts)) {
      const cell = (await own.locator(`[data-fact="${name}"] td`).innerText()).replaceAll(/\s+/g, " ");
      if (isSaid(fact)) assert.ok(cell.endsWith(`${fact.checked}: ${fact.source}`), `${one.provider} ${name}: ${cell}`);
      else assert.equal(cell, "unverified");
    }
    const rows = page.getByRole("region", { name: "Models that differ" }).locator("details");
    assert.equal(await rows.count(), one.models.length);
    if (one.models.length === 0) continue;
    await rows.first().locator("summary").focus();
    await page.keyboard.press("Enter");
    const [first] = one.models;
    for (const said of first.names) await eventually(async () => assert.ok((await rows.first().innerText()).includes(said), said));
    assert.equal(await rows.first().locator("[data-fact]").count(), Object.keys(first.facts).length);
  }
  assert.deepEqual(await violations(page), []);
  await page.getByRole("link", { name: "Side by side" }).click();
  await wanted(page, "provider", null);
  await visit(page, `${origin}/capabilities?provider=nobody`);
  await page.getByText("Nothing is known about nobody.").waitFor();
  ok("manifest_is_the_servers");
}

/** A server of which nothing is known, as an operator may run one. */
async function nothingIsKnown(page) {
  const empty = (more) => (route) => route.fulfill({ json: { data: [], has_more: false, next_cursor: null, ...more } });
  await page.route("**/v2/price-books", empty({ revision: "none" }));
  await page.route("**/v2/byoc/nodes?*", empty());
  await page.route("**/v2/capabilities", empty({ revision: "none" }));
  await visit(page, `${origin}/models`);
  await page.getByText("No models.").waitFor();
  assert.ok(await page.getByRole("button", { name: "Start the demo node" }).isVisible());
  assert.deepEqual(await violations(page), []);
  await visit(page, `${origin}/capabilities`);
  await page.getByText("No provider capabilities are known.").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.unrouteAll({ behavior: "ignoreErrors" });
  ok("nothing_is_known");
}

await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  await catalogueIsTheServers(page);
  await catalogueIsSearchedAndSorted(page);
  await modelTellsItsOffersAndFacts(page);
  await modelLeadsToItsTrial(page);
  await manifestIsTheServers(page);
  await nothingIsKnown(page);
});

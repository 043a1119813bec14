// What a node runs and learns, from its page and the pages of training: adapters come into memory and go, a job is begun by the
// form, its losses are the server's own, by pointer, keyboard and table alike, it is paused and goes on, each of its last epochs is a
// model, and it is called off.
//
// usage: node training.mjs ORIGIN ADMIN_KEY API_KEY CONVERSATIONS BAD_CONVERSATIONS
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { eventually, inBrowser, ok, signIn, v2, visit } from "./browser.mjs";
import { isForEveryone } from "./everyone.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, , file, badFile] = process.argv.slice(2);

async function nodeTellsWhatItRuns(page) {
  await visit(page, `${origin}/nodes`);
  await page.getByRole("link", { name: "attic", exact: true }).click();
  await page.getByRole("heading", { level: 1, name: "attic" }).waitFor();
  const runs = page.getByRole("region", { name: "Runtime" });
  await runs.getByText("idle").waitFor();
  const [node] = (await v2(origin, adminKey, "byoc/nodes")).data;
  const runtime = await v2(origin, adminKey, `byoc/nodes/${node.id}/runtime`);
  const row = runs.getByRole("row").filter({ hasText: runtime.models[0].id });
  assert.ok((await row.innerText()).includes(runtime.models[0].context_tokens.toLocaleString("en-US")));
  await isForEveryone(page, "node");
  ok("node_tells_what_it_runs");
  return node.id;
}

async function adaptersComeAndGo(page, node) {
  const panel = page.getByRole("region", { name: "Adapters" });
  const row = panel.getByRole("row").filter({ hasText: "law" });
  const state = async () => (await v2(origin, adminKey, `adapters?node=${node}`)).data.map((one) => [one.id, one.status, one.pinned]);
  await row.getByRole("button", { name: "Pin law" }).click();
  await row.getByText("pinned").waitFor();
  await row.getByText("loaded").waitFor();
  assert.deepEqual(await state(), [["law", "loaded", true]]);
  await panel.getByText("1 of 16 in memory, 1 of 64 registered").waitFor();
  await row.getByRole("button", { name: "Unpin law" }).click();
  await row.getByText("pinned").waitFor({ state: "detached" });
  await row.getByRole("button", { name: "Unload law" }).click();
  await panel.getByText("No adapters yet").waitFor();
  assert.deepEqual(await state(), []);
  await panel.getByRole("link", { name: "Register" }).click();
  const form = page.getByRole("dialog");
  await form.getByRole("textbox", { name: "Name" }).fill("statutes");
  await form.getByLabel("Directory").fill("../node");
  await form.getByRole("button", { name: "Register" }).click();
  await form.getByText(/^The node attic says: /).waitFor();
  await isForEveryone(page, "adapter-refused");
  await form.getByLabel("Directory").fill("law");
  await form.getByRole("button", { name: "Register" }).click();
  await form.waitFor({ state: "detached" });
  await panel.getByRole("row").filter({ hasText: "statutes" }).waitFor();
  assert.deepEqual((await state()).map(([id]) => id), ["statutes"]);
  await isForEveryone(page, "adapters");
  ok("adapters_come_and_go");
}

async function badLinesAreNamed(page) {
  await visit(page, `${origin}/training`);
  await page.getByText("No training jobs yet").waitFor();
  await isForEveryone(page, "training-empty");
  await page.getByRole("link", { name: "Start a job" }).click();
  const form = page.getByRole("dialog");
  await form.getByRole("option", { name: "tidegate-demo" }).waitFor({ state: "attached" });
  await form.getByLabel("Conversations").setInputFiles(badFile);
  await form.getByRole("button", { name: "Check" }).click();
  const lines = form.getByRole("alert").getByRole("listitem");
  await eventually(async () => assert.equal(await lines.count(), 2));
  for (const [at, line] of (await lines.allInnerTexts()).entries()) assert.ok(line.startsWith(`line ${at + 1}: `), line);
  await isForEveryone(page, "training-bad-lines");
  ok("bad_lines_are_named");
}

/** Has the node count, and returns the order without its texts. */
async function checked(page, form) {
  const asked = page.waitForRequest(/\/v2\/train\/preview$/);
  await form.getByRole("button", { name: "Check" }).click();
  const { data, node, ...order } = (await asked).postDataJSON();
  assert.ok(data.length > 0 && node.startsWith("node_"));
  return order;
}

/** What is not set is not sent; what is set is sent by the node's own names, and what of it is wrong is told where it stands. */
async function inDetail(page, form) {
  const named = { model: "tidegate-demo", adapter: "tides", epochs: 3, lora_rank: 4 };
  assert.deepEqual(await checked(page, form), named);
  await form.getByText(/ for training and 0 for validation/).waitFor();
  await form.getByLabel("Start from adapter").fill("../node");
  await form.getByText("Advanced settings").click();
  assert.ok(!(await form.getByLabel("Start from adapter").isVisible()));
  assert.deepEqual(await checked(page, form), { ...named, init_adapter_dir: "../node" });
  await form.locator(".field").filter({ has: page.getByLabel("Start from adapter") }).getByText(/^The node attic says: /).waitFor();
  await isForEveryone(page, "training-detail-refused");
  await form.getByLabel("Start from adapter").fill("law");
  await form.getByLabel("Rank").fill("");
  const { lora_rank, ...others } = named;
  assert.deepEqual(await checked(page, form), { ...others, init_adapter_dir: "law" });
  await form.getByText(/ for training and 0 for validation/).waitFor();
  await form.getByLabel("Start from adapter").fill("");
  await form.getByLabel("Rank").fill(String(lora_rank));
  await form.getByLabel("Learning rate schedule").selectOption({ label: "linear decay" });
  for (const [name, value] of [["Warmup steps", 1], ["Tokens per batch", 512], ["Batches per step", 2], ["Validation split, in percent", 25], ["Seed", 7]]) await form.getByLabel(name).fill(String(value));
  await form.getByLabel("Save memory").check();
  const fine = { lr_schedule: "linear", warmup_steps: 1, batch_tokens: 512, gradient_accumulation_steps: 2, split_ratio: 0.75, seed: 7, saves_memory: true };
  assert.deepEqual(await checked(page, form), { ...named, ...fine });
  await form.getByText(/ for training and 2 for validation/).waitFor();
  return fine;
}

async function jobIsBegunByTheForm(page) {
  const form = page.getByRole("dialog");
  await form.getByLabel("Conversations").setInputFiles(file);
  await form.getByRole("textbox", { name: "Name" }).fill("tides");
  await form.getByLabel("Epochs").fill("3");
  await form.getByLabel("Rank").fill("4");
  await form.getByText("Advanced settings").click();
  const sent = await inDetail(page, form);
  const counted = await form.getByText(/ for training and /).innerText();
  await isForEveryone(page, "training-checked");
  await form.getByRole("button", { name: "Start" }).click();
  await page.getByRole("heading", { level: 1, name: "tides" }).waitFor();
  const state = page.getByRole("region", { name: "Status" });
  await state.getByText("completed", { exact: true }).waitFor();
  await state.getByText("tidegate-demo:tides", { exact: true }).waitFor();
  const [job] = (await v2(origin, adminKey, "train/jobs")).data;
  assert.ok(counted.includes(`${job.outlook.steps} step`), `${counted} of ${job.outlook.steps}`);
  assert.equal(job.settings.epochs, 3);
  for (const [name, value] of Object.entries(sent)) assert.equal(job.settings[name], value, name);
  ok("job_is_begun_by_the_form");
  return job;
}

async function lossesAreTheServers(page, job) {
  const events = (await v2(origin, adminKey, `train/jobs/${job.id}/events`)).data.filter((event) => event.kind === "progress");
  assert.ok(events.length > 1 && events.every((event) => event.loss > 0));
  const plot = page.getByRole("slider", { name: "Loss, step" });
  // The page may hear of the last step after the job's end.
  await eventually(async () => assert.equal(await plot.getAttribute("aria-valuemax"), String(events.length - 1)));
  await plot.focus();
  for (const event of events) {
    await page.keyboard.press("ArrowRight");
    const expected = `step ${event.step}: Training ${event.loss.toFixed(4)}`;
    await eventually(async () => {
      const told = await plot.getAttribute("aria-valuetext");
      assert.ok(told.startsWith(expected), `${told} is not ${expected}`);
    });
  }
  await isForEveryone(page, "training-job");
  const panel = page.getByRole("region", { name: "Loss", exact: true });
  await panel.getByRole("button", { name: "Loss as a table" }).click();
  const rows = await panel.locator("tbody tr").allInnerTexts();
  assert.deepEqual(rows.map((row) => row.split(/\s+/).slice(0, 2)), events.map((event) => [String(event.step), event.loss.toFixed(4)]));
  const [saved] = await Promise.all([page.waitForEvent("download"), panel.getByRole("button", { name: "Loss as CSV" }).click()]);
  assert.equal(readFileSync(await saved.path(), "utf8").trim().split("\r\n").length, events.length + 1);
  const happened = page.getByRole("table", { name: "Events" });
  assert.ok((await happened.innerText()).includes("completed: tidegate-demo:tides"));
  ok("losses_are_the_servers");
}

const checkpoints = async (job) => (await v2(origin, adminKey, `train/jobs/${job.id}/checkpoints`)).data;

async function jobWaitsAndGoesOn(page, node) {
  const data = readFileSync(file, "utf8");
  const long = await send("POST", "train/jobs", { node, data, adapter: "long", epochs: 1000, lora_rank: 4 });
  await visit(page, `${origin}/training`);
  await page.getByRole("row").filter({ hasText: "long" }).getByText(/running|queued/).waitFor();
  await page.getByRole("link", { name: "long" }).click();
  const state = page.getByRole("region", { name: "Status" });
  const [pause, resume] = ["Pause", "Resume"].map((name) => page.getByRole("button", { name, exact: true }));
  const panel = page.getByRole("region", { name: "Checkpoints" });
  // The end of its first epoch comes onto the page by itself.
  await panel.getByRole("link", { name: /^Try step/ }).first().waitFor();
  assert.equal(await resume.count(), 0);
  await pause.click();
  await state.getByText("paused", { exact: true }).waitFor();
  await pause.waitFor({ state: "detached" });
  assert.equal((await v2(origin, adminKey, `train/jobs/${long.id}`)).status, "paused");
  const rows = panel.locator("tbody tr");
  const shown = () => rows.evaluateAll((all) => all.map((row) => [row.querySelector("th .mono").textContent, ...[...row.querySelectorAll("td")].slice(0, 2).map((cell) => cell.textContent)]));
  const kept = await eventually(async () => {
    const known = await checkpoints(long);
    assert.ok(known.length > 0);
    assert.deepEqual(await shown(), known.map((one) => [one.model, one.step.toLocaleString("en-US"), one.loss.toFixed(4)]));
    return known;
  });
  const trial = await panel.getByRole("link", { name: `Try step ${kept[0].step}`, exact: true }).getAttribute("href");
  assert.equal(new URL(trial, origin).searchParams.get("model"), kept[0].model);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin });
  await panel.getByRole("button", { name: `Copy the name of step ${kept[0].step}`, exact: true }).click();
  await eventually(async () => assert.equal(await page.evaluate(() => navigator.clipboard.readText()), kept[0].model));
  await isForEveryone(page, "training-paused");
  // It stood still for as long as the pictures took.
  const [{ step }] = await checkpoints(long);
  await resume.click();
  await pause.waitFor();
  await resume.waitFor({ state: "detached" });
  // A further epoch ends, and is told here.
  await eventually(async () => assert.ok(Number((await shown())[0][1].replace(",", "")) > step));
  ok("job_waits_and_goes_on");
  return long;
}

async function jobIsCalledOff(page, long) {
  await page.getByRole("button", { name: "Cancel job" }).click();
  await page.getByRole("region", { name: "Status" }).getByText("cancelled", { exact: true }).waitFor();
  for (const name of ["Cancel job", "Pause", "Resume"]) assert.equal(await page.getByRole("button", { name, exact: true }).count(), 0, name);
  assert.equal((await v2(origin, adminKey, `train/jobs/${long.id}`)).status, "cancelled");
  await page.getByRole("link", { name: "Training", exact: true }).first().click();
  await page.getByRole("row").filter({ hasText: "long" }).getByText("cancelled").waitFor();
  await isForEveryone(page, "training");
  ok("job_is_called_off");
}

/** A node that does not answer: its page tells so, and what else is known of it stays. */
async function nodeIsAway(page, node) {
  const away = { type: "about:blank", title: "Bad Gateway", status: 502, code: "upstream_unreachable", detail: "The node attic couldn’t be reached: connection refused.", fix: "Check that it runs.", request_id: "trc_0190000000007000800000000000beef", retryable: true };
  await page.route(/\/runtime$/, (route) => route.fulfill({ status: 502, contentType: "application/problem+json", body: JSON.stringify(away) }));
  await page.route(/\/v2\/train\/jobs$/, (route) => route.fulfill({ json: { object: "list", data: [], away: [{ node_id: node, node: "attic", code: away.code, message: away.detail }] } }));
  await page.goto(`${origin}/nodes/${node}`);
  await page.getByRole("alert").getByText(away.detail).waitFor();
  await page.getByRole("region", { name: "Server capabilities" }).waitFor();
  await isForEveryone(page, "node-away");
  await page.goto(`${origin}/training`);
  await page.getByText(`Jobs of attic couldn’t be loaded: ${away.detail}`).waitFor();
  await isForEveryone(page, "training-away");
  await page.unrouteAll({ behavior: "ignoreErrors" });
  ok("node_is_away");
}

await inBrowser(origin, async (open) => {
  const page = await open();
  await signIn(page, origin, adminKey);
  const node = await nodeTellsWhatItRuns(page);
  await adaptersComeAndGo(page, node);
  await badLinesAreNamed(page);
  const job = await jobIsBegunByTheForm(page);
  await lossesAreTheServers(page, job);
  const long = await jobWaitsAndGoesOn(page, node);
  await jobIsCalledOff(page, long);
  await nodeIsAway(page, node);
});

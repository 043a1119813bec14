// A workspace's own hardware from the console: the map of two nodes that are peers, a node that is held back and let go, its labels and
// its cost, why a request went where it went, what a node started elsewhere, a replay, the move that it gates, and a data plane.
//
// usage: node fleet.mjs ORIGIN ADMIN_KEY API_KEY PROGRAM FOLDER NEAR FAR NEAR_PEER FAR_PEER UPSTREAM PROVIDER_KEY NODE_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { chat, eventually, inBrowser, ok, signIn, v2, visit } from "./browser.mjs";
import { isForEveryone } from "./everyone.mjs";
import { send } from "./traffic.mjs";

const [origin, adminKey, apiKey, program, folder, near, far, nearPeer, farPeer, upstream, providerKey, nodeKey] = process.argv.slice(2);
const MODEL = "openai/gpt-4o-mini";
/** As many as the gates that this journey sets need at least, and a few more. */
const REQUESTS = 24;

const node = async (name) => (await v2(origin, adminKey, "byoc/nodes")).data.find((one) => one.name === name);
const fact = (panel, name) => panel.locator("dl > div").filter({ has: panel.page().locator("dt", { hasText: new RegExp(`^${name}$`) }) }).locator("dd").innerText();

/** Two nodes that joined and know each other by the gateway's list; one of them may start workers. */
async function nodesJoin() {
  const config = `${folder}/node.toml`;
  writeFileSync(config, "[workers.exec.commands.shell]\nprogram = '/bin/sh'\narguments = ['-c', 'echo tide comes in; sleep 600']\nnano_usd_per_hour = 3600000000000\n[workers.exec.commands.once]\nprogram = '/bin/sh'\narguments = ['-c', 'exit 7']\n");
  return Promise.all([["near", near, nearPeer, ["--config", config]], ["far", far, farPeer, []]].map(async ([name, address, peer, more]) => {
    const { token } = await send("POST", "byoc/nodes/join-tokens", { name });
    const data = ["--data-dir", `${folder}/${name}`];
    await promisify(execFile)(program, ["node", "join", "--control", origin, "--token", token, "--address", `http://${address}`, ...data]);
    const child = spawn(program, ["node", "--model", "echo", "--listen", address, "--peer-listen", peer, ...data, ...more], { stdio: "ignore", env: { ...process.env, TIDEGATE_MODELS_DIR: `${folder}/${name}-models` } });
    return { stop: async () => (child.kill("SIGKILL"), once(child, "exit")) };
  }));
}

async function mapIsTheNodes(page) {
  await visit(page, `${origin}/nodes`);
  for (const name of ["near", "far"]) await page.getByRole("row").filter({ hasText: name }).getByText("ready", { exact: true }).waitFor();
  const map = page.getByRole("region", { name: "Map of the nodes" });
  await map.getByText("No site: 2 nodes. Connected peers: 1 pair. The table below lists every node.").waitFor();
  for (const [name, site] of [["near", "attic"], ["far", "cellar"]]) {
    await page.getByRole("row").filter({ hasText: name }).getByRole("link", { name, exact: true }).click();
    await page.getByRole("heading", { level: 1, name }).waitFor();
    await page.getByRole("link", { name: "Edit labels" }).click();
    const form = page.getByRole("dialog");
    await form.getByLabel("Labels").fill(`gpu, site:${site}`);
    await form.getByRole("button", { name: "Save" }).click();
    await form.waitFor({ state: "detached" });
    assert.deepEqual((await node(name)).labels, ["gpu", `site:${site}`]);
    await page.getByRole("link", { name: "Nodes", exact: true }).first().click();
  }
  await map.getByText("attic: 1 node; cellar: 1 node. Connected peers: 1 pair. The table below lists every node.").waitFor();
  for (const words of ["Gateway", "near", "far", "attic", "cellar"]) assert.equal(await map.locator("svg text", { hasText: new RegExp(`^${words}$`) }).count(), 1, words);
  assert.equal(await map.locator("svg path.mesh").count(), 1);
  await isForEveryone(page, "fleet-map");
  ok("map_is_the_nodes");
}

async function nodeIsHeldAndLetGo(page) {
  const { id } = await node("near");
  await visit(page, `${origin}/nodes/${id}`);
  const state = page.getByRole("region", { name: "Status" });
  for (const [press, word] of [["Cordon", "cordoned"], ["Uncordon", "ready"], ["Drain", "draining"]]) {
    await page.getByRole("button", { name: press, exact: true }).click();
    await state.getByText(word, { exact: true }).waitFor();
    assert.equal((await node("near")).status, word);
  }
  await state.getByText(/drained: safe to stop/).waitFor();
  await visit(page, `${origin}/nodes`);
  const map = page.getByRole("region", { name: "Map of the nodes" });
  await map.getByText(/attic: 1 node, 1 takes no new requests/).waitFor();
  await isForEveryone(page, "fleet-drained");
  await page.getByRole("row").filter({ hasText: "near" }).getByRole("button", { name: "Uncordon" }).click();
  await page.getByRole("row").filter({ hasText: "near" }).getByText("ready", { exact: true }).waitFor();
  assert.equal((await node("near")).status, "ready");
  ok("node_is_held_and_let_go");
}

async function peersAreTheNodes(page) {
  const { id } = await node("near");
  await visit(page, `${origin}/nodes/${id}`);
  const row = page.getByRole("region", { name: "Peers" }).getByRole("row").filter({ hasText: "far" });
  await row.getByText("connected", { exact: true }).waitFor();
  const [{ peers }] = (await v2(origin, adminKey, `byoc/peers?node=${id}`)).data;
  assert.deepEqual([peers.length, peers[0].name, peers[0].chunks_in], [1, "far", 0]);
  assert.equal(await row.getByRole("link", { name: "far" }).getAttribute("href"), `/nodes/${(await node("far")).id}`);
  ok("peers_are_the_nodes");
}

/** A model that one has is fetched by the other, and its chunks are counted. */
async function chunksAreFollowed(page) {
  const name = "publisher/tides";
  const directory = `${folder}/far-models/publisher--tides`;
  mkdirSync(directory, { recursive: true });
  const files = [["config.json", "{}"], ["model.safetensors", Buffer.alloc(8 * 1024 * 1024, "tide")]].map(([file, content]) => {
    writeFileSync(`${directory}/${file}`, content);
    return { name: file, bytes: content.length, sha256: "0".repeat(64), checksum: `sha256:${"0".repeat(64)}` };
  });
  const manifest = { version: 1, name, repository: name, revision: "r1", source: "https://hub.example", pulled_at: "2026-01-01T00:00:00Z", bytes: files[0].bytes + files[1].bytes, files };
  writeFileSync(`${directory}/manifest.json`, JSON.stringify(manifest));
  const { id } = await node("near");
  await visit(page, `${origin}/nodes/${id}`);
  const peers = page.getByRole("region", { name: "Peers" });
  await peers.getByText(`model/${name}`).waitFor();
  // A fetch may be over before the page asks: one that goes on is put into the answer.
  const heard = await v2(origin, adminKey, `byoc/peers?node=${id}`);
  assert.deepEqual(heard.data[0].fetches, []);
  heard.data[0].fetches = [{ share: `model/${name}`, bytes: 67_108_866, bytes_here: 8_388_610, chunks_by_peer: { far: 3 } }];
  await page.route(/\/v2\/byoc\/peers\?/, (route) => route.fulfill({ json: heard }));
  await peers.getByText("8.3 MB of 67.1 MB: 3 chunks from far", { exact: true }).waitFor();
  assert.equal(await peers.getByRole("progressbar", { name: `Progress of model/${name}` }).getAttribute("aria-valuenow"), "8388610");
  await isForEveryone(page, "fleet-fetch");
  await page.unrouteAll({ behavior: "wait" });
  await promisify(execFile)(program, ["node", "fetch", name, "--data-dir", `${folder}/near`], { env: { ...process.env, TIDEGATE_MODELS_DIR: `${folder}/near-models` } });
  await peers.getByRole("progressbar").waitFor({ state: "detached" });
  const row = peers.getByRole("row").filter({ hasText: "far" });
  await row.getByRole("cell", { name: "3", exact: true }).waitFor();
  ok("chunks_are_followed");
}

async function costIsStated(page) {
  const { id } = await node("near");
  await visit(page, `${origin}/nodes/${id}`);
  const form = page.getByRole("dialog");
  await page.getByRole("link", { name: "Set cost" }).click();
  await form.getByLabel("Machine").selectOption("owned");
  await form.getByLabel("Purchase price, in dollars").fill("2400");
  await form.getByLabel("Depreciation, in months").fill("36");
  await form.getByLabel("Watts while serving").fill("350");
  await form.getByLabel("Dollars per kWh").fill("0.30");
  await isForEveryone(page, "fleet-cost");
  await form.getByRole("button", { name: "Save" }).click();
  await form.waitFor({ state: "detached" });
  assert.deepEqual((await node("near")).cost, { kind: "owned", price_nano_usd: 2_400_000_000_000, months: 36, watts_busy: 350, nano_usd_per_kwh: 300_000_000 });
  // Another kind takes the fields of the last one away.
  await page.getByRole("link", { name: "Set cost" }).click();
  await form.getByLabel("Machine").selectOption("cloud");
  await form.getByLabel("Dollars per hour").fill("1.20");
  await form.getByRole("button", { name: "Save" }).click();
  await form.waitFor({ state: "detached" });
  assert.deepEqual((await node("near")).cost, { kind: "cloud", nano_usd_per_hour: 1_200_000_000 });
  await eventually(async () => assert.equal(await fact(page.getByRole("region", { name: "Cost", exact: true }), "Set as"), "$1.20 per hour while it’s up"));
  ok("cost_is_stated");
}

async function hardwareIsTheServers(page) {
  await eventually(async () => {
    await visit(page, `${origin}/hardware`);
    const costs = await v2(origin, adminKey, "byoc/costs?window=30d");
    const one = costs.nodes.find(({ name }) => name === "near");
    assert.ok(one.utilisation !== null, "the node has reported its hours");
    const row = page.getByRole("table", { name: "Costs by node" }).getByRole("row").filter({ hasText: "near" });
    const text = await row.innerText();
    for (const said of ["$1.20 per hour while it’s up", `${(one.utilisation * 100).toFixed(1)}%`]) assert.ok(text.includes(said), `${said}: ${text}`);
    const models = await page.getByRole("table", { name: "Costs by model and adapter" }).getByRole("rowheader").allInnerTexts();
    assert.deepEqual(models, costs.models.map(({ model }) => model));
  });
  // What the catalogue doesn't know stands beside a model that providers sell.
  await page.getByLabel("Compare unknown models with").fill(MODEL);
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  await eventually(async () => {
    const { providers } = (await v2(origin, adminKey, `byoc/costs?window=30d&compare=${encodeURIComponent(MODEL)}`)).models.find(({ model }) => model === "echo");
    const shown = await page.getByRole("table", { name: "Costs by model and adapter" }).locator("tr.other").count();
    assert.ok(providers.length > 0 && shown === providers.length, `${shown} of ${providers.length}`);
  });
  assert.equal(new URL(page.url()).searchParams.get("compare"), MODEL);
  await isForEveryone(page, "hardware");
  ok("hardware_is_the_servers");
}

async function placementIsExplained(page) {
  const { id, status } = await chat(origin, apiKey, { model: "echo" });
  assert.equal(status, 200);
  const request = await eventually(() => v2(origin, adminKey, `requests/${id}`));
  const placed = [...request.plan.placement.matchAll(/(near|far): (\d+) ms/g)].map(([, name, ms]) => [name, `${Number(ms).toLocaleString("en-US")} ms`]);
  assert.equal(placed.length, 2, request.plan.placement);
  await visit(page, `${origin}/requests/${id}`);
  const table = page.getByRole("table", { name: "Expected time to first token" });
  const rows = await table.locator("tbody tr").evaluateAll((all) => all.map((row) => [row.querySelector("th").textContent, row.querySelectorAll("td")[1].textContent]));
  assert.deepEqual(rows, placed);
  assert.equal(await table.getByRole("link", { name: placed[0][0] }).getAttribute("href"), `/nodes/${(await node(placed[0][0])).id}`);
  await isForEveryone(page, "placement");
  await visit(page, `${origin}/routes?model=echo`);
  await eventually(async () => assert.equal(await page.getByRole("table", { name: "Expected time to first token" }).locator("tbody tr").count(), 2));
  ok("placement_is_explained");
}

async function order(command) {
  const answer = await fetch(`http://${near}/v1/compute/workers?provider=exec`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ spec: { command } }) });
  assert.equal(answer.status, 202, await answer.clone().text());
  return (await answer.json()).job_id;
}

async function workersAreFollowedAndDestroyed(page) {
  const [shell, failed] = [await order("shell"), await order("once")];
  await visit(page, `${origin}/workers`);
  const row = (id) => page.getByRole("row").filter({ hasText: id.slice(-8) });
  await row(shell).getByText("running", { exact: true }).waitFor();
  await row(failed).getByText("failed", { exact: true }).waitFor();
  await row(shell).getByRole("link", { name: `…${shell.slice(-8)}` }).click();
  await page.getByRole("log").filter({ hasText: "tide comes in" }).waitFor();
  const shown = (await v2(origin, adminKey, "workers")).data.find((one) => one.id === shell);
  const panel = page.getByRole("region", { name: `Worker …${shell.slice(-8)}` });
  for (const step of shown.steps) await panel.getByRole("listitem").filter({ hasText: step.name }).waitFor();
  assert.ok((await fact(panel, "Cost")).endsWith("at $3,600.00 per hour, according to its owner"), await fact(panel, "Cost"));
  await isForEveryone(page, "workers");
  for (const id of [shell, failed]) {
    await row(id).getByRole("button", { name: "Destroy" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Destroy" }).click();
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await row(id).getByText("destroyed", { exact: true }).waitFor();
  }
  const acts = (await v2(origin, adminKey, "audit?limit=50")).data.filter((entry) => entry.action === "worker.destroy");
  assert.deepEqual(acts.map(({ detail }) => detail).sort(), [`worker ${shell}`, `worker ${failed}`].sort());
  ok("workers_are_followed_and_destroyed");
}

/** Traffic of a provider, and a node that could serve it. */
async function trafficOfAProvider() {
  await send("POST", "provider-credentials", { provider: "openai", display_name: "openai of ours", secret: providerKey, base_url: upstream });
  for (let number = 0; number < REQUESTS; number += 1) assert.equal((await chat(origin, apiKey, { model: MODEL, stream: number % 12 !== 0 })).status, 200);
  await eventually(async () => assert.equal((await v2(origin, adminKey, `requests?limit=100&filter=${encodeURIComponent(`model:${MODEL}`)}`)).data.length, REQUESTS));
  const gates = { requests_min: 20, first_token_p95_percent_max: 100_000, total_p95_percent_max: 100_000, error_bps_max: 2_500, headroom_percent_min: 1 };
  await send("PUT", "replay-gates", { gates });
  return (await send("POST", "byoc/nodes", { name: "rack", base_url: upstream, secret: nodeKey, models: [MODEL] })).id;
}

async function moveNeedsAReason(page) {
  const rack = await trafficOfAProvider();
  await visit(page, `${origin}/routes?edit=new`);
  const form = page.getByRole("dialog");
  await form.getByLabel("Model (exact, or prefix ending in * or /)").fill(MODEL);
  await form.getByLabel("Your nodes (BYOC)").check();
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await form.getByText("replay_required").first().waitFor();
  await form.getByText(rack).first().waitFor();
  await isForEveryone(page, "replay-required");
  await form.getByLabel("Reason for skipping the replay").fill("the lease of the old one ends");
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await form.waitFor({ state: "detached" });
  const [route] = (await v2(origin, adminKey, "routes")).data;
  const override = (await v2(origin, adminKey, "audit?limit=50")).data.find((entry) => entry.action === "replay.override");
  assert.ok(override.detail.startsWith(`the lease of the old one ends (100 % of ${MODEL}`), override.detail);
  // Who isn't an owner is offered no way around.
  const { key } = await send("POST", "api-keys", { name: "an admin", scopes: ["admin", "read"] });
  await send("DELETE", `routes/${route.id}`);
  await page.evaluate(() => sessionStorage.clear());
  await signIn(page, origin, key);
  await visit(page, `${origin}/routes?edit=new`);
  await form.getByLabel("Model (exact, or prefix ending in * or /)").fill(MODEL);
  await form.getByLabel("Your nodes (BYOC)").check();
  await form.getByRole("button", { name: "Add", exact: true }).click();
  await form.getByText("A workspace owner can save it without a replay.").waitFor();
  assert.equal(await form.getByLabel("Reason for skipping the replay").count(), 0);
  await page.evaluate(() => sessionStorage.clear());
  await signIn(page, origin, adminKey);
  ok("move_needs_a_reason");
  return rack;
}

/** An alias whose releases are a node and a provider: whatever moves its callers to the node needs a reason. */
async function aliasMovesNeedAReason(page) {
  const release = (model, more) => ({ split: "weighted", targets: [{ model, weight: 1 }], ...more });
  const alias = await send("POST", "model-aliases", release("echo", { name: "tide.best" }));
  await send("POST", `model-aliases/${alias.id}/releases`, release(MODEL, { activate: true }));
  for (let number = 0; number < 8; number += 1) assert.equal((await chat(origin, apiKey, { model: "tide.best" })).status, 200);
  await eventually(async () => assert.equal((await v2(origin, adminKey, `requests?limit=100&filter=${encodeURIComponent("model:tide.best")}`)).data.length, 8));
  await visit(page, `${origin}/aliases/${alias.id}`);
  const form = page.getByRole("dialog");
  const numbered = (number) => page.getByText(new RegExp(`^number ${number}, for `)).waitFor();
  const overrides = async () => (await v2(origin, adminKey, "audit?limit=50")).data.filter((entry) => entry.action === "replay.override").map(({ detail }) => detail.split(" (")[0]);
  const back = async () => (await page.getByRole("button", { name: /^Promote release 2$/ }).click(), numbered(2));
  await numbered(2);
  // Back to the release before, and to one of the list.
  for (const [press, why] of [[page.getByRole("button", { name: "Roll back" }), "the node is tried"], [page.getByRole("button", { name: /^Promote release 1$/ }), "the node is promoted"]]) {
    await press.click();
    await page.getByText("replay_required").first().waitFor();
    await isForEveryone(page, "alias-replay-required");
    await page.getByLabel("Reason for skipping the replay").fill(why);
    await page.getByRole("button", { name: "Save without a replay" }).click();
    await numbered(1);
    assert.equal((await overrides())[0], why);
    await back();
  }
  // A canary, and a release that is active at once, each by its form.
  await page.getByRole("link", { name: "Start a canary" }).click();
  await form.getByLabel("Share of callers, %").fill("10");
  await form.getByRole("button", { name: "Start" }).click();
  await form.getByText("replay_required").first().waitFor();
  await isForEveryone(page, "canary-replay-required");
  await form.getByLabel("Reason for skipping the replay").fill("a few of them");
  await form.getByRole("button", { name: "Start" }).click();
  await form.waitFor({ state: "detached" });
  await page.getByText("10%", { exact: true }).waitFor();
  assert.equal((await overrides())[0], "a few of them");
  await page.getByRole("button", { name: "Withdraw" }).click();
  await page.getByRole("link", { name: "Start a canary" }).waitFor();
  await page.getByRole("link", { name: "Install a release" }).click();
  await form.getByLabel("Targets").fill("echo");
  await form.getByLabel("Activate the release immediately").check();
  await form.getByRole("button", { name: "Install" }).click();
  await form.getByText("replay_required").first().waitFor();
  await form.getByLabel("Reason for skipping the replay").fill("all of them");
  await form.getByRole("button", { name: "Install" }).click();
  await form.waitFor({ state: "detached" });
  await numbered(3);
  assert.deepEqual((await overrides()).slice(0, 4), ["all of them", "a few of them", "the node is promoted", "the node is tried"]);
  await send("DELETE", `model-aliases/${alias.id}`);
  ok("alias_moves_need_a_reason");
}

/** What its owner switches off stops now, though the node is what is left. */
async function switchingOffNeedsNoReason(page) {
  const [credential] = (await v2(origin, adminKey, "provider-credentials")).data;
  await visit(page, `${origin}/credentials/${credential.id}`);
  await page.getByRole("button", { name: "Disable" }).click();
  const form = page.getByRole("dialog");
  await form.getByRole("button", { name: "Disable" }).click();
  await form.waitFor({ state: "detached" });
  await page.getByText("disabled", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Enable" }).click();
  await page.getByText("active", { exact: true }).waitFor();
  ok("switching_off_needs_no_reason");
}

async function replayIsTheServers(page, rack) {
  const made = await send("POST", "replay-runs", { from: { model: MODEL }, candidate: { node_id: rack, model: MODEL, cost_per_hour_micros: 1 } });
  await visit(page, `${origin}/replays?run=${made.id}`);
  const panel = page.getByRole("region", { name: `${MODEL} on rack` });
  await panel.getByText("passed", { exact: true }).first().waitFor();
  const report = await v2(origin, adminKey, `replay-runs/${made.id}/report`);
  const gates = page.getByRole("table", { name: "Gates" }).locator("tbody tr");
  await eventually(async () => assert.equal(await gates.count(), report.results.length));
  const told = await gates.evaluateAll((all) => all.map((row) => [...row.querySelectorAll("td")].map((cell) => cell.textContent.trim())));
  assert.deepEqual(told, report.results.map((one) => [one.verdict, one.reason]));
  for (const [label, times] of [["Time to first token", report.first_token], ["Total time", report.total]]) {
    const rows = page.getByRole("table", { name: label }).locator("tbody tr");
    assert.equal(await rows.count(), times.baseline.length + times.candidate.length);
  }
  await isForEveryone(page, "replay-report");
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Signed report" }).click()]);
  await promisify(execFile)(program, ["receipt", "verify", await file.path()], { env: { ...process.env, TIDEGATE_URL: origin, TIDEGATE_API_KEY: adminKey } });
  ok("replay_is_the_servers");
}

/** A data plane that has more than its restored control plane: what the page says of what the API says. */
async function dataPlaneIsAhead(page) {
  const one = { id: "dpl_01900000000070008000000000000000", name: "ams-1", status: "joined", applied_version: 7, configuration: "ahead", is_current: false, last_seen_at: new Date().toISOString(), program_version: "0.1.0", signing_key_fingerprint: null, token_expires_at: null, created_at: "2026-01-01T00:00:00Z", joined_at: "2026-01-01T00:00:00Z", revoked_at: null };
  const superseded = [];
  await page.route(/\/v2\/data-planes(\?|$)/, (route) => route.fulfill({ json: { object: "list", data: [superseded.length > 0 ? { ...one, configuration: "behind" } : one], has_more: false, next_cursor: null } }));
  await page.route(/\/v2\/data-planes\/\w+\/supersede$/, (route) => (superseded.push(route.request().method()), route.fulfill({ json: one })));
  await visit(page, `${origin}/data-planes`);
  const row = page.getByRole("row").filter({ hasText: "ams-1" });
  await row.getByText("version 7, ahead", { exact: true }).waitFor();
  await isForEveryone(page, "data-plane-ahead");
  await page.getByRole("button", { name: "Replace configuration" }).click();
  await row.getByText("version 7, behind", { exact: true }).waitFor();
  assert.deepEqual(superseded, ["POST"]);
  await page.unrouteAll({ behavior: "wait" });
  ok("data_plane_is_ahead");
}

async function dataPlaneIsInvitedAndRevoked(page) {
  await visit(page, `${origin}/data-planes`);
  await page.getByText("No data planes yet.").waitFor();
  await page.getByRole("link", { name: "Invite a data plane" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Name").fill("fra-1");
  await form.getByRole("button", { name: "Invite", exact: true }).click();
  const command = await form.getByLabel("the command", { exact: true }).innerText();
  assert.ok(command.startsWith(`tidegate gateway --control ${origin} --token tgp_`), command.slice(0, 60));
  await isForEveryone(page, "data-plane-invited");
  await form.getByRole("button", { name: "Done" }).click();
  await form.waitFor({ state: "detached" });
  assert.ok(!(await page.content()).includes("tgp_"), "the token is shown once");
  const row = page.getByRole("row").filter({ hasText: "fra-1" });
  await row.getByText("invited", { exact: true }).waitFor();
  await row.getByRole("link", { name: "fra-1" }).click();
  await page.getByRole("region", { name: "Signed by fra-1" }).getByText("No signed documents yet.").waitFor();
  await isForEveryone(page, "data-planes");
  await row.getByRole("button", { name: "Revoke" }).click();
  await form.getByRole("textbox").fill("fra-1");
  await form.getByRole("button", { name: "Revoke" }).click();
  await row.getByText("revoked", { exact: true }).waitFor();
  assert.equal((await v2(origin, adminKey, "data-planes")).data[0].status, "revoked");
  ok("data_plane_is_invited_and_revoked");
}

const running = await nodesJoin();
try {
  await inBrowser(origin, async (open) => {
    const page = await open();
    await signIn(page, origin, adminKey);
    await mapIsTheNodes(page);
    await nodeIsHeldAndLetGo(page);
    await peersAreTheNodes(page);
    await chunksAreFollowed(page);
    await costIsStated(page);
    await placementIsExplained(page);
    await hardwareIsTheServers(page);
    await workersAreFollowedAndDestroyed(page);
    const rack = await moveNeedsAReason(page);
    await aliasMovesNeedAReason(page);
    await switchingOffNeedsNoReason(page);
    await replayIsTheServers(page, rack);
    await dataPlaneIsInvitedAndRevoked(page);
    await dataPlaneIsAhead(page);
  });
} finally {
  await Promise.all(running.map((one) => one.stop()));
}

// A node that is invited from the console, joins by the command that is shown once, says how it is, reports served requests, and is
// revoked: a real one, started as a person would.
//
// usage: node joining.mjs ORIGIN ADMIN_KEY API_KEY PROGRAM MODEL FOLDER ADDRESS
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";
import { eventually, inBrowser, ok, signIn, v2, visit } from "./browser.mjs";
import { isForEveryone } from "./everyone.mjs";

const [origin, adminKey, , program, model, folder, address] = process.argv.slice(2);
const node = async () => (await v2(origin, adminKey, "byoc/nodes")).data.find((one) => one.name === "attic");
const PAGE = 20;

async function invite(page, name) {
  await visit(page, `${origin}/nodes`);
  await page.getByRole("link", { name: "Invite a node" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Name").fill(name);
  return form;
}

/** Shown once, and neither in the address nor in what the browser keeps. */
async function commandIsShownOnce(page) {
  const form = await invite(page, "attic");
  await form.getByLabel("Expires in").selectOption({ label: "15 minutes" });
  await isForEveryone(page, "invite");
  const before = Date.now();
  const answer = page.waitForResponse(/\/join-tokens$/);
  await form.getByRole("button", { name: "Invite", exact: true }).click();
  const end = new Date((await (await answer).json()).expires_at);
  assert.ok(end - before >= 15 * 60_000 && end - Date.now() <= 15 * 60_000, end.toISOString());
  const command = await form.getByLabel("the command", { exact: true }).innerText();
  const [start, token] = [`tidegate node join --control ${origin} --token `, command.split(" ").at(-1)];
  assert.ok(command === start + token && token.startsWith("tgj_") && token.length > 40, command);
  assert.equal(await form.getByLabel("the command", { exact: true }).count(), 1);
  const clock = await page.evaluate((at) => new Date(at).toTimeString().slice(0, 8), end.getTime());
  await form.getByText(new RegExp(`once, until .*${clock}`)).waitFor();
  await isForEveryone(page, "invited");
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin });
  await form.getByRole("button", { name: "Copy the command" }).click();
  await eventually(async () => assert.equal(await page.evaluate(() => navigator.clipboard.readText()), command));
  const keeps = async () => [page.url(), ...(await page.evaluate(() => [document.cookie, JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage }), JSON.stringify(history.state)]))];
  for (const kept of await keeps()) assert.ok(!kept.includes(token) && !kept.includes("tgj_"), kept);
  await form.getByRole("button", { name: "Done" }).click();
  await form.waitFor({ state: "detached" });
  assert.ok(!(await page.content()).includes(token));
  await page.goBack();
  assert.ok(!(await page.content()).includes(token));
  ok("command_is_shown_once");
  return command;
}

/** The command as it is shown, with where this node keeps what is its own and where it listens. */
async function join(command) {
  const [, ...words] = command.split(" ");
  await promisify(execFile)(program, [...words, "--data-dir", folder, "--address", `http://${address}`]);
}

function start() {
  const child = spawn(program, ["node", "--model", model, "--name", "tidegate-demo", "--data-dir", folder, "--listen", address, "--kv-memory", "64"], { stdio: "ignore" });
  return { stop: async () => (child.kill("SIGKILL"), once(child, "exit")) };
}

const fact = (panel, name) => panel.locator("dl > div").filter({ has: panel.page().locator("dt", { hasText: new RegExp(`^${name}$`) }) }).locator("dd").innerText();

async function nodeSaysHowItIs(page, running) {
  await visit(page, `${origin}/nodes`);
  await page.getByRole("link", { name: "attic", exact: true }).click();
  const panel = page.getByRole("region", { name: "Reported by the node" });
  await panel.getByText("no heartbeat yet").waitFor();
  await page.getByText("No reports yet.").waitFor();
  await isForEveryone(page, "node-joined");
  running.push(start());
  await panel.getByText(/^last heartbeat /).waitFor();
  await page.getByRole("region", { name: "Status" }).getByText("ready", { exact: true }).waitFor();
  const { joined } = await node();
  assert.equal(joined.said.device, "cpu");
  assert.deepEqual([await fact(panel, "Device"), await fact(panel, "Version"), await fact(panel, "Running"), await fact(panel, "Waiting")], ["cpu", joined.said.version, "0", "0"]);
  assert.match(await fact(panel, "Backend"), new RegExp(`^${joined.said.runtime}$`));
  const size = joined.said.model_bytes["tidegate-demo"];
  assert.ok(size > 1_000_000, `${size}`);
  assert.equal(await fact(panel, "Models"), `tidegate-demo: ${(Math.floor(size / 100_000) / 10).toFixed(1)} MB`);
  assert.match(await fact(panel, "KV cache"), /^\d+(\.\d)?% of [\d.]+ MB$/);
  assert.ok((await fact(panel, "Joined")) !== "" && (await fact(panel, "Last heartbeat")) !== "");
  ok("node_says_how_it_is");
}

async function ask(by, messages, key) {
  const answer = await fetch(`${by}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) },
    body: JSON.stringify({ model: "tidegate-demo", max_tokens: 4, messages: [{ role: "user", content: messages }] }),
  });
  assert.equal(answer.status, 200, await answer.text());
  return answer.headers.get("x-request-id");
}

async function answersAreTheReported(page) {
  const request = await eventually(() => ask(origin, "What is Tidegate?", process.argv[4]));
  for (let at = 0; at < PAGE; at += 1) await ask(`http://${address}`, `How often is tide ${at}?`);
  const { id } = await node();
  const reported = await eventually(async () => {
    const { data } = await v2(origin, adminKey, `byoc/nodes/${id}/usage?limit=100`);
    assert.equal(data.length, PAGE + 1);
    return data;
  });
  const panel = page.getByRole("region", { name: "Served requests" });
  const rows = panel.locator("tbody tr");
  await eventually(async () => assert.equal(await rows.count(), PAGE));
  await panel.getByRole("button", { name: "Next page" }).click();
  await eventually(async () => assert.equal(await rows.count(), PAGE + 1));
  assert.equal(await panel.getByRole("button", { name: "Next page" }).count(), 0);
  // It grows where it ends.
  await ask(`http://${address}`, "And once more?");
  await eventually(async () => assert.equal(await rows.count(), PAGE + 2));
  const shown = await rows.evaluateAll((all) => all.map((row) => [...row.querySelectorAll("td")].map((cell) => cell.textContent.trim())));
  for (const [at, one] of reported.entries()) {
    const [name, operation, end, input, cached, output] = shown[at];
    assert.deepEqual([name, operation, end, input, cached, output], [one.model, one.operation, one.end, String(one.input_tokens), String(one.cached_tokens), String(one.output_tokens)]);
  }
  assert.equal(reported.filter((one) => one.request_id === request).length, 1);
  assert.deepEqual(await panel.getByRole("link").evaluateAll((all) => all.map((one) => one.getAttribute("href"))), [`/requests/${request}`]);
  const { joined } = await node();
  assert.ok(joined.said.load.cache_bytes > 0, "what it was asked is remembered");
  const says = page.getByRole("region", { name: "Reported by the node" });
  await eventually(async () => assert.match(await fact(says, "KV cache"), /^(0\.[1-9]|[1-9]\d?\.\d)%/));
  await page.getByRole("heading", { level: 1 }).scrollIntoViewIfNeeded();
  await isForEveryone(page, "node-reported");
  await panel.scrollIntoViewIfNeeded();
  await isForEveryone(page, "node-usage");
  ok("answers_are_the_reported");
}

async function credentialEnds(page) {
  await page.getByRole("button", { name: "Revoke" }).click();
  const form = page.getByRole("dialog");
  await isForEveryone(page, "node-revoke");
  const sure = form.getByRole("button", { name: "Revoke" });
  assert.ok(await sure.isDisabled());
  await form.getByRole("textbox").fill("attic");
  await sure.click();
  await form.waitFor({ state: "detached" });
  await page.getByRole("region", { name: "Status" }).getByText("revoked", { exact: true }).waitFor();
  const { id, status, joined } = await node();
  assert.ok(status === "revoked" && joined.revoked_at !== null);
  assert.notEqual(await fact(page.getByRole("region", { name: "Reported by the node" }), "Revoked"), "");
  for (const name of ["Revoke", "Cordon", "Drain", "Uncordon"]) assert.equal(await page.getByRole("button", { name, exact: true }).count(), 0, name);
  await isForEveryone(page, "node-revoked");
  // A name that is free again is asked for as it was.
  await page.getByRole("link", { name: "Invite a replacement" }).click();
  await eventually(async () => assert.equal(await form.getByLabel("Name").inputValue(), "attic"));
  await form.getByRole("button", { name: "Invite", exact: true }).click();
  const command = await form.getByLabel("the command", { exact: true }).innerText();
  await form.getByRole("button", { name: "Done" }).click();
  ok("credential_ends");
  return [id, command];
}

async function anotherTakesItsPlace(page, [id, command], running) {
  await running.pop().stop();
  await join(command);
  running.push(start());
  await page.getByRole("row").filter({ hasText: "attic" }).getByText("ready").waitFor();
  assert.deepEqual([(await node()).id, (await node()).joined.revoked_at], [id, null]);
  const form = await invite(page, "attic");
  await form.getByRole("button", { name: "Invite", exact: true }).click();
  await form.getByText(/attic.* not revoked/).waitFor();
  await isForEveryone(page, "invite-refused");
  ok("another_takes_its_place");
}

const running = [];
try {
  await inBrowser(origin, async (open) => {
    const page = await open();
    await signIn(page, origin, adminKey);
    const command = await commandIsShownOnce(page);
    await join(command);
    await nodeSaysHowItIs(page, running);
    await answersAreTheReported(page);
    const again = await credentialEnds(page);
    await anotherTakesItsPlace(page, again, running);
  });
} finally {
  await Promise.all(running.map((one) => one.stop()));
}

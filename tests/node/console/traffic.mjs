// What the journeys find on the server: honest traffic, and names and models as somebody hostile would choose them.

import assert from "node:assert/strict";
import { chat, eventually, v2 } from "./browser.mjs";

const [origin, adminKey, apiKey] = process.argv.slice(2);

export const HOSTILE = [
  `<img src=x onerror="window.harmed=1">`,
  `"><script>window.harmed=1</script>`,
  `javascript:window.harmed=1`,
  `{@html window.harmed=1}`,
  `<svg/onload=window.harmed=1>`,
  `' onmouseover='window.harmed=1`,
];

export async function send(method, path, body, key = adminKey) {
  const answer = await fetch(`${origin}/v2/${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}

/** Names and models as somebody hostile would choose them, and some honest traffic; over when all of it is in the books. */
export async function populate() {
  const sent = [];
  for (const [at, name] of HOSTILE.entries()) {
    await send("POST", "api-keys", { name });
    await send("POST", "byoc/nodes", { name, base_url: `http://127.0.0.1:9/${at}`, models: [name], labels: [name] });
    sent.push(await chat(origin, apiKey, { model: name }));
  }
  const statuses = [];
  for (const request of [{ model: "echo" }, { model: "echo", stream: true }, { model: "echo", stream: true }, { model: "no-such-model" }]) {
    sent.push(await chat(origin, apiKey, request));
    statuses.push(sent.at(-1).status);
  }
  assert.deepEqual(statuses, [200, 200, 200, 404]);
  await eventually(async () => {
    const booked = new Set((await v2(origin, adminKey, "requests?limit=100")).data.map((row) => row.id));
    for (const { id } of sent) assert.ok(booked.has(id), `${id} is not in the books`);
  });
}

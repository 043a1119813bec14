// What the journeys find on the server: honest traffic, and names and models as somebody hostile would choose them.

import assert from "node:assert/strict";
import { chat } from "./browser.mjs";

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

/** Names and models as somebody hostile would choose them, and some honest traffic. */
export async function populate() {
  for (const [at, name] of HOSTILE.entries()) {
    await send("POST", "api-keys", { name });
    await send("POST", "byoc/nodes", { name, base_url: `http://127.0.0.1:9/${at}`, models: [name], labels: [name] });
    await chat(origin, apiKey, { model: name });
  }
  for (let sent = 0; sent < 3; sent += 1) assert.equal((await chat(origin, apiKey, { model: "echo", stream: sent > 0 })).status, 200);
  assert.equal((await chat(origin, apiKey, { model: "no-such-model" })).status, 404);
}

// A small team's real traffic, of every kind that the books know: its own keys, the operator's pool, a node; streams, failures,
// a fallback, what was refused, what has no price, what its client left.

import assert from "node:assert/strict";
import { chat, v2 } from "./browser.mjs";
import { send } from "./traffic.mjs";

const MINI = "openai/gpt-4o-mini";

/** Where the emulator is, and the secrets that it takes. */
export async function trade(origin, adminKey, apiKey, { emulator, own, pool }) {
  const base_url = `${emulator}/v1`;
  const credential = await send("POST", "provider-credentials", { provider: "openai", display_name: "OpenAI, team", secret: own, base_url });
  const account = await send("POST", "accounts", { provider: "openai", display_name: "Pool A", secret: pool, base_url, markup_bps: 1000 });
  await send("POST", "routes", { scope: { tag: "pooled" }, profiles: ["managed_provider"] });
  await send("POST", "routes", { scope: { tag: "careful" }, profiles: ["byok", "managed_provider"], byok_fallback: "managed", fallback_on: ["upstream"] });
  const checkout = await send("POST", "api-keys", { name: "checkout" });
  const staging = await send("POST", "api-keys", { name: "staging", environment: "staging" });

  const sent = {};
  const ask = async (name, key, body, tag, status = 200) => {
    const answer = await chat(origin, key, body, tag);
    assert.equal(answer.status, status, name);
    sent[name] = answer.id;
  };
  const counts = (prompt, cached, completion) => `emu:prompt_tokens=${prompt},cached_tokens=${cached},completion_tokens=${completion}`;
  await ask("own", apiKey, { model: MINI, user: counts(1_234, 200, 345) });
  await ask("streamed", checkout.key, { model: "openai/gpt-4o", user: counts(2_500, 1_000, 700), stream: true });
  await ask("pooled", checkout.key, { model: MINI, user: counts(987, 0, 654) }, "pooled");
  await ask("staging", staging.key, { model: MINI, user: counts(77, 0, 11), stream: true });
  await ask("node", apiKey, { model: "echo" });
  await ask("unpriced", apiKey, { model: "openai:meta-llama/Llama-3.3-70B-Instruct" });
  await ask("estimated", apiKey, { model: MINI, user: "emu:usage=missing", stream: true });
  await ask("refused", apiKey, { model: "nobody/no-such-model" }, undefined, 404);
  await ask("failed", checkout.key, { model: MINI, user: "emu:status=400,message=no" }, undefined, 400);
  await script(emulator, own, ["emu:status=500,times=0"]);
  await ask("fallback", apiKey, { model: MINI, user: counts(500, 100, 50) }, "careful");
  await fetch(`${emulator}/__emulator/script`, { method: "DELETE" });
  await left(origin, apiKey);
  await booked(origin, adminKey, 11);
  return { credential, account, checkout, staging, sent };
}

async function script(emulator, key, behaviours) {
  const answer = await fetch(`${emulator}/__emulator/script`, { method: "POST", body: JSON.stringify({ key, behaviours }) });
  assert.equal(answer.status, 200, await answer.text());
}

/** A stream whose client goes away after its first bytes. */
async function left(origin, key) {
  const abort = new AbortController();
  const answer = await fetch(`${origin}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: MINI, stream: true, messages: [{ role: "user", content: "Hello, tide." }], user: "emu:chunks=50,interval=100" }),
    signal: abort.signal,
  });
  await answer.body.getReader().read();
  abort.abort();
}

/** Settled requests are seen within a second. */
async function booked(origin, adminKey, wanted) {
  const until = Date.now() + 60_000;
  for (;;) {
    const { data } = await v2(origin, adminKey, "requests?limit=100");
    if (data.length === wanted) return;
    assert.ok(Date.now() < until, `${data.length} of ${wanted} requests are in the books`);
    await new Promise((resume) => setTimeout(resume, 100));
  }
}

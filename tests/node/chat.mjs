// Drives a gateway with the official Node SDK, unmodified, and checks what an application would see.
//
// usage: node chat.mjs BASE_URL KEY READ_ONLY_KEY
// Prints `ok CASE` for each case that held, and `request_id CASE ID` for ids that the SDK showed.

import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, apiKey, readOnlyKey] = process.argv.slice(2);
const model = "openai/gpt-4o-mini";
const messages = [{ role: "user", content: "Tell me about tides, né 漢字 🙂" }];
const said = "You said: Tell me about tides, né 漢字 🙂";
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

function show(name, id) {
  assert.match(id ?? "", /^trc_/);
  console.log("request_id", name, id);
}

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function failsWith(name, kind, code, call) {
  await assert.rejects(call, (error) => {
    assert.equal(error.constructor, kind, `${name}: ${error}`);
    assert.equal(error.code, code);
    assert.ok(error.message.includes(error.requestID), `${name}: ${error.message}`);
    show(name, error.requestID);
    return true;
  });
}

const cases = {
  async buffered(client) {
    const answer = await client.chat.completions.create({ model, messages });
    assert.equal(answer.choices[0].message.content, said);
    show("buffered", answer._request_id);
  },
  async streamed(client) {
    const chunks = await collect(await client.chat.completions.create({ model, messages, stream: true }));
    assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), said);
    assert.ok(chunks.every((chunk) => !("usage" in chunk)));
  },
  async include_usage(client) {
    const stream_options = { include_usage: true };
    const chunks = await collect(await client.chat.completions.create({ model, messages, stream: true, stream_options }));
    const last = chunks.pop();
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.completion_tokens > 0);
    assert.ok(chunks.every((chunk) => chunk.usage === null));
  },
  async helper(client) {
    const runner = client.chat.completions.stream({ model, messages });
    const final = await runner.finalChatCompletion();
    assert.equal(final.choices[0].message.content, said);
  },
  async tools(client) {
    const answer = await client.chat.completions.create({ model, messages, tools: [weather], tool_choice: "required" });
    assert.equal(answer.choices[0].message.tool_calls[0].function.arguments, '{"city":"value"}');
  },
  async tools_streamed(client) {
    for (const [mode, count] of [["single", 1], ["parallel", 2], ["interleaved", 2]]) {
      const runner = client.chat.completions.stream({ model, messages, tools: [weather], user: `emu:tools=${mode}` });
      const final = await runner.finalChatCompletion();
      const calls = final.choices[0].message.tool_calls;
      assert.deepEqual(calls.map((call) => call.function.arguments), Array(count).fill('{"city":"value"}'));
    }
  },
  async models(client) {
    const ids = [];
    for await (const one of client.models.list()) ids.push(one.id);
    assert.ok(ids.includes(model), ids.join(" "));
    assert.equal((await client.models.retrieve(model)).id, model);
  },
  async errors(client) {
    const ask = (from, more = {}) => () => from.chat.completions.create({ model, messages, ...more });
    const wrong = client.withOptions({ apiKey: "tg_live_wrong" });
    await failsWith("authentication", OpenAI.AuthenticationError, "invalid_api_key", ask(wrong));
    const reader = client.withOptions({ apiKey: readOnlyKey });
    await failsWith("permission", OpenAI.PermissionDeniedError, "insufficient_scope", ask(reader));
    await failsWith("not_found", OpenAI.NotFoundError, "model_not_found", ask(client, { model: "gpt-none" }));
    await failsWith("bad_request", OpenAI.BadRequestError, "invalid_type", ask(client, { messages: "hello" }));
    const limited = client.withOptions({ maxRetries: 0 });
    const more = { model: "limited/acme-large", user: "emu:status=429,retry_after=30" };
    await failsWith("rate_limit", OpenAI.RateLimitError, "rate_limit_exceeded", ask(limited, more));
  },
  // The gateway has tried for itself and says so: the SDK, which tries twice more by default, must not.
  async retries(client) {
    const more = { model: "broken/acme-large", user: "emu:status=500" };
    await failsWith("no_retry", OpenAI.InternalServerError, "upstream_error", () =>
      client.chat.completions.create({ messages, ...more }),
    );
  },
  // An answer that breaks off is an error for its reader, never a silent end.
  async broken_stream(client) {
    const user = "emu:chunks=20,cut=5";
    const stream = await client.chat.completions.create({ model, messages, stream: true, user });
    await assert.rejects(collect(stream), (error) => error.code === "upstream_answer_broken");
  },
  // Sent four times at once, it is answered once: the SDK waits for the others by itself. Of itself it sends no key.
  async idempotent(client) {
    const patient = client.withOptions({ maxRetries: 8 });
    const ask = (key, more = {}) =>
      patient.chat.completions
        .create({ model, messages, ...more }, key ? { headers: { "Idempotency-Key": key } } : {})
        .withResponse();
    const answers = await Promise.all([1, 2, 3, 4].map(() => ask("node", { user: "emu:latency=500" })));
    assert.equal(new Set(answers.map((answer) => answer.request_id)).size, 1);
    assert.equal(new Set(answers.map((answer) => JSON.stringify(answer.data))).size, 1);
    const replays = answers.map((answer) => answer.response.headers.get("agent-idempotent-replay")).sort();
    assert.deepEqual(replays, ["false", "true", "true", "true"]);
    await failsWith("conflict", OpenAI.ConflictError, "idempotency_conflict", () => ask("node"));
    const streams = [];
    for (let turn = 0; turn < 2; turn++) {
      streams.push(await collect((await ask("node-stream", { stream: true })).data));
    }
    assert.deepEqual(streams[0], streams[1]);
    assert.equal((await ask(null)).response.headers.get("agent-idempotent-replay"), null);
  },
};

const client = new OpenAI({ baseURL, apiKey, timeout: 20_000 });
for (const [name, run] of Object.entries(cases)) {
  await run(client);
  console.log("ok", name);
}

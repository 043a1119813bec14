// Drives an OpenAI-compatible server with the official Node SDK and checks what a user of it would see.
//
// usage: node chat.mjs SDK_DIRECTORY BASE_URL KEY [CASE ...]

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [sdk, baseURL, apiKey, ...names] = process.argv.slice(2);
const resolve = createRequire(join(sdk, "package.json")).resolve;
const { default: OpenAI } = await import(pathToFileURL(resolve("openai")));

const model = "gpt-4o-mini";
const messages = [{ role: "user", content: "Tell me about tides, né 漢字 🙂" }];
const said = "You said: Tell me about tides, né 漢字 🙂";
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const cases = {
  async buffered(client) {
    const answer = await client.chat.completions.create({ model, messages });
    assert.equal(answer.choices[0].message.content, said);
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.ok(answer._request_id);
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
  async embeddings(client) {
    const answer = await client.embeddings.create({ model: "text-embedding-3-small", input: "one", dimensions: 8 });
    assert.equal(answer.data[0].embedding.length, 8);
  },
  async errors(client) {
    const once = client.withOptions({ maxRetries: 0 });
    const fails = async (kind, code, call) => {
      await assert.rejects(call, (error) => {
        assert.ok(error instanceof kind, `${error}`);
        assert.equal(error.code, code);
        return true;
      });
    };
    const wrong = client.withOptions({ apiKey: "sk-wrong-key-000000000000" });
    await fails(OpenAI.AuthenticationError, "invalid_api_key", () => wrong.models.list());
    await fails(OpenAI.NotFoundError, "model_not_found", () => client.chat.completions.create({ model: "none", messages }));
    await fails(OpenAI.BadRequestError, null, () => client.chat.completions.create({ model, messages, surprise: 1 }));
    const user = "emu:status=429";
    await fails(OpenAI.RateLimitError, "rate_limit_exceeded", () => once.chat.completions.create({ model, messages, user }));
  },
  // The test has queued two failures; the SDK tries three times.
  async retries(client) {
    const answer = await client.chat.completions.create({ model, messages });
    assert.equal(answer.choices[0].finish_reason, "stop");
  },
  async broken_stream(client) {
    const user = "emu:chunks=20,cut=5";
    const stream = await client.chat.completions.create({ model, messages, stream: true, user });
    await assert.rejects(collect(stream));
  },
};

const client = new OpenAI({ baseURL, apiKey, timeout: 20_000 });
const byDefault = Object.keys(cases).filter((name) => name !== "retries");
for (const name of names.length ? names : byDefault) {
  await cases[name](client);
  console.log("ok", name);
}

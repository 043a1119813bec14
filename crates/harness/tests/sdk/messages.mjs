// Drives an Anthropic-compatible server with the official Node SDK and checks what a user of it would see.
//
// usage: node messages.mjs SDK_DIRECTORY BASE_URL KEY [CASE ...]

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [sdk, baseURL, apiKey, ...names] = process.argv.slice(2);
const resolve = createRequire(join(sdk, "package.json")).resolve;
const { default: Anthropic } = await import(pathToFileURL(resolve("@anthropic-ai/sdk")));

const question = "Tell me about tides, né 漢字 🙂";
const said = `You said: ${question}`;
const ask = { model: "claude-sonnet-4-6", max_tokens: 4000, messages: [{ role: "user", content: question }] };
const weather = {
  name: "get_weather",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const script = (text) => ({ user_id: `emu:${text}` });

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

const cases = {
  async buffered(client) {
    const answer = await client.messages.create(ask);
    assert.equal(answer.content[0].text, said);
    assert.equal(answer.stop_reason, "end_turn");
    assert.ok(answer._request_id);
  },
  async streamed(client) {
    const final = await client.messages.stream(ask).finalMessage();
    const whole = await client.messages.create(ask);
    assert.deepEqual(final.content, whole.content);
    assert.deepEqual(final.usage, whole.usage);
    const events = await collect(await client.messages.create({ ...ask, stream: true }));
    assert.equal(events.at(-1).type, "message_stop");
  },
  async tools(client) {
    for (const mode of ["parallel", "interleaved"]) {
      const wanted = { ...ask, tools: [weather], metadata: script(`tools=${mode}`) };
      const answer = await client.messages.stream(wanted).finalMessage();
      assert.deepEqual(answer.content.map((call) => call.input), Array(2).fill({ city: "value" }));
      const content = answer.content.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: "sunny" }));
      const messages = [...ask.messages, { role: "assistant", content: answer.content }, { role: "user", content }];
      const after = await client.messages.create({ ...ask, messages, tools: [weather] });
      assert.equal(after.stop_reason, "end_turn");
    }
  },
  async thinking_loop(client) {
    const thinking = { type: "enabled", budget_tokens: 1024 };
    const named = [{ role: "user", content: "use get_weather" }];
    const wanted = { ...ask, messages: named, tools: [weather], thinking, metadata: script("redacted") };
    const { content } = await client.messages.stream(wanted).finalMessage();
    assert.deepEqual(content.map((block) => block.type), ["thinking", "redacted_thinking", "tool_use"]);
    const result = { type: "tool_result", tool_use_id: content[2].id, content: "sunny" };
    const back = (blocks) => {
      const messages = [...named, { role: "assistant", content: blocks }, { role: "user", content: [result] }];
      return client.messages.create({ ...ask, messages, tools: [weather], thinking });
    };
    assert.equal((await back(content)).stop_reason, "end_turn");
    await assert.rejects(back(content.slice(1)), Anthropic.BadRequestError);
  },
  async refusal(client) {
    const answer = await client.messages.stream({ ...ask, metadata: script("refusal") }).finalMessage();
    assert.equal(answer.stop_reason, "refusal");
    assert.equal(answer.stop_details.type, "refusal");
  },
  async counts_and_models(client) {
    const { max_tokens, ...counted } = ask;
    const { usage } = await client.messages.create(ask);
    assert.equal((await client.messages.countTokens(counted)).input_tokens, usage.input_tokens);
    const models = await collect(await client.models.list({ limit: 2 }));
    assert.ok(models.length > 2 && models.some((model) => model.id === ask.model));
    assert.equal((await client.models.retrieve(ask.model)).id, ask.model);
  },
  async errors(client) {
    const once = client.withOptions({ maxRetries: 0 });
    const fails = async (kind, type, call) => {
      await assert.rejects(call, (error) => {
        assert.ok(error instanceof kind, `${error}`);
        assert.equal(error.error.error.type, type);
        assert.equal(error.requestID, error.error.request_id);
        return true;
      });
    };
    const wrong = client.withOptions({ apiKey: "sk-wrong-key-000000000000" });
    await fails(Anthropic.AuthenticationError, "authentication_error", () => wrong.messages.create(ask));
    await fails(Anthropic.NotFoundError, "not_found_error", () => once.messages.create({ ...ask, model: "none" }));
    await fails(Anthropic.BadRequestError, "invalid_request_error", () => once.messages.create({ ...ask, surprise: 1 }));
    const status = (number) => once.messages.create({ ...ask, metadata: script(`status=${number}`) });
    await fails(Anthropic.RateLimitError, "rate_limit_error", () => status(429));
    await fails(Anthropic.InternalServerError, "overloaded_error", () => status(529));
  },
  // The test has queued two failures; the SDK tries three times.
  async retries(client) {
    assert.equal((await client.messages.create(ask)).stop_reason, "end_turn");
  },
  async broken_stream(client) {
    const stream = client.messages.stream({ ...ask, metadata: script("chunks=20,cut=8") });
    await assert.rejects(stream.finalMessage());
  },
  async error_event(client) {
    const stream = await client.messages.create({ ...ask, stream: true, metadata: script("error_event=4") });
    await assert.rejects(collect(stream), (error) => {
      assert.ok(error instanceof Anthropic.APIError, `${error}`);
      assert.equal(error.error.error.type, "overloaded_error");
      return true;
    });
  },
};

const client = new Anthropic({ baseURL, apiKey, timeout: 20_000 });
const byDefault = Object.keys(cases).filter((name) => name !== "retries");
for (const name of names.length ? names : byDefault) {
  await cases[name](client);
  console.log("ok", name);
}

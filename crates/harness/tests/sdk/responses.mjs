// Drives the Responses, completions and moderations endpoints with the official Node SDK.
//
// usage: node responses.mjs SDK_DIRECTORY BASE_URL KEY [CASE ...]

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [sdk, baseURL, apiKey, ...names] = process.argv.slice(2);
const resolve = createRequire(join(sdk, "package.json")).resolve;
const { default: OpenAI } = await import(pathToFileURL(resolve("openai")));

const model = "gpt-4o-mini";
const thinker = "gpt-5-mini";
const input = "Tell me about tides, né 漢字 🙂";
const said = "You said: Tell me about tides, né 漢字 🙂";
const weather = {
  type: "function",
  name: "get_weather",
  strict: true,
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
};

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

const cases = {
  async buffered(client) {
    const answer = await client.responses.create({ model, input });
    assert.equal(answer.output_text, said);
    assert.equal(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens);
  },
  async streamed(client) {
    const events = await collect(await client.responses.create({ model, input, stream: true }));
    assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, at) => at));
    const answer = await client.responses.stream({ model, input }).finalResponse();
    assert.equal(answer.output_text, said);
  },
  async tool_loop(client) {
    const asked = [{ role: "user", content: "use get_weather" }];
    for (const stateless of [{}, { store: false, include: ["reasoning.encrypted_content"] }]) {
      const options = { model: thinker, tools: [weather], ...stateless };
      const answer = await client.responses.create({ ...options, input: asked });
      const call = answer.output.at(-1);
      const output = { type: "function_call_output", call_id: call.call_id, output: "sunny" };
      const after = await client.responses.create({ ...options, input: [...asked, ...answer.output, output] });
      assert.equal(after.output.at(-1).type, "message");
    }
  },
  async tools_streamed(client) {
    for (const [mode, count] of [["single", 1], ["parallel", 2], ["interleaved", 2]]) {
      const runner = client.responses.stream({ model, input, tools: [weather], user: `emu:tools=${mode}` });
      const answer = await runner.finalResponse();
      assert.deepEqual(answer.output.map((call) => call.arguments), Array(count).fill('{"city":"value"}'));
    }
  },
  async reasoning(client) {
    const runner = client.responses.stream({ model: thinker, input, reasoning: { summary: "auto" } });
    const answer = await runner.finalResponse();
    assert.ok(answer.output[0].summary[0].text);
    assert.equal(answer.output_text, said);
  },
  async background(client) {
    let answer = await client.responses.create({ model, input, background: true });
    const seen = [answer.status];
    while (["queued", "in_progress"].includes(answer.status)) {
      answer = await client.responses.retrieve(answer.id);
      seen.push(answer.status);
    }
    assert.deepEqual(seen, ["queued", "in_progress", "completed"]);
    assert.equal(answer.output_text, said);
  },
  async resumed(client) {
    const seen = [];
    for await (const event of await client.responses.create({ model, input, background: true, stream: true })) {
      seen.push(event);
      if (seen.length === 5) break;
    }
    const { id } = seen[0].response;
    const asked = { stream: true, starting_after: seen.at(-1).sequence_number };
    const rest = await collect(await client.responses.retrieve(id, asked));
    const numbers = [...seen, ...rest].map((event) => event.sequence_number);
    assert.deepEqual(numbers, numbers.map((_, at) => at));
    assert.equal(rest.at(-1).type, "response.completed");
  },
  async stored(client) {
    const made = await client.responses.create({ model, input });
    await assert.rejects(client.responses.cancel(made.id), OpenAI.BadRequestError);
    await client.responses.delete(made.id);
    const unkept = await client.responses.create({ model, input, store: false });
    for (const id of [made.id, unkept.id, "resp_none"]) {
      await assert.rejects(client.responses.retrieve(id), OpenAI.NotFoundError);
      await assert.rejects(async () => collect(await client.responses.inputItems.list(id)), OpenAI.NotFoundError);
    }
  },
  async conversation(client) {
    const first = await client.responses.create({ model, input: "The sea is wide" });
    const second = await client.responses.create({ model, input: "and deep", previous_response_id: first.id });
    assert.ok(second.usage.input_tokens > first.usage.input_tokens);
    const items = await collect(await client.responses.inputItems.list(second.id));
    assert.deepEqual(items.map((item) => item.content[0].text), ["and deep"]);
    await client.responses.delete(second.id);
    await assert.rejects(client.responses.retrieve(second.id), OpenAI.NotFoundError);
  },
  async failures(client) {
    const failed = await client.responses.stream({ model, input, user: "emu:failed=mid" }).finalResponse();
    assert.equal(failed.status, "failed");
    const stream = await client.responses.create({ model, input, stream: true, user: "emu:error_event=5" });
    await assert.rejects(collect(stream), OpenAI.APIError);
    await assert.rejects(client.responses.create({ model, input, top_k: 5 }), OpenAI.BadRequestError);
  },
  async moderations(client) {
    const answer = await client.moderations.create({ input: ["a calm sea", "I will kill it"] });
    assert.deepEqual(answer.results.map((one) => one.flagged), [false, true]);
  },
  async completions(client) {
    const wanted = { model: "gpt-3.5-turbo-instruct", prompt: "the tide" };
    const answer = await client.completions.create(wanted);
    assert.equal(answer.choices[0].text, "You said: the tide");
    const chunks = await collect(await client.completions.create({ ...wanted, stream: true }));
    assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), "You said: the tide");
  },
};

const client = new OpenAI({ baseURL, apiKey, timeout: 20_000, maxRetries: 0 });
for (const name of names.length ? names : Object.keys(cases)) {
  await cases[name](client);
  console.log("ok", name);
}

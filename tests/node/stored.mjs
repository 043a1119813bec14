// Drives a gateway with the official Node SDK, unmodified, where a provider keeps its answers.
//
// usage: stored.mjs BASE_URL KEY READ_ONLY_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const model = "openai/gpt-4o-mini";
const input = "How high is the tide?";
const said = "You said: How high is the tide?";

const collect = async (stream) => {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
};

const cases = {
  async lifecycle(client) {
    const made = await client.responses.create({ model, input });
    const shown = await client.responses.retrieve(made.id, { include: ["message.output_text.logprobs"] });
    assert.equal(shown.output_text, made.output_text);
    const items = await collect(await client.responses.inputItems.list(made.id, { order: "asc", limit: 1 }));
    assert.deepEqual(items.map((item) => item.content[0].text), [input]);
    await client.responses.delete(made.id);
    await assert.rejects(client.responses.retrieve(made.id), OpenAI.NotFoundError);
    await assert.rejects(client.responses.delete(made.id), OpenAI.NotFoundError);
  },
  async chain(client) {
    const first = await client.responses.create({ model, input: "The sea is wide" });
    const second = await client.responses.create({ model, input: "and deep", previous_response_id: first.id });
    assert.ok(second.usage.input_tokens > first.usage.input_tokens);
    await client.responses.delete(first.id);
    const gone = client.responses.create({ model, input: "x", previous_response_id: first.id });
    await assert.rejects(gone, { code: "previous_response_not_found", param: "previous_response_id" });
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
    const again = await client.responses.create({ model, input, background: true });
    assert.equal((await client.responses.cancel(again.id)).status, "cancelled");
    assert.equal((await client.responses.retrieve(again.id)).status, "cancelled");
  },
  async resume(client) {
    const seen = [];
    for await (const event of await client.responses.create({ model, input, background: true, stream: true })) {
      seen.push(event);
      if (seen.length === 5) break;
    }
    const asked = { stream: true, starting_after: seen.at(-1).sequence_number };
    const rest = await collect(await client.responses.retrieve(seen[0].response.id, asked));
    const numbers = [...seen, ...rest].map((event) => event.sequence_number);
    assert.deepEqual(numbers, numbers.map((_, at) => at));
    assert.equal(rest.at(-1).response.status, "completed");
  },
};

const client = new OpenAI({ baseURL, apiKey, timeout: 20_000, maxRetries: 0 });
for (const [name, run] of Object.entries(cases)) {
  await run(client);
  console.log("ok", name);
}

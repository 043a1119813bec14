// Drives a Gemini server with the official Node SDK and checks what a user of it would see.
//
// usage: node gemini.mjs SDK_DIRECTORY ORIGIN KEY [CASE ...]

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [sdk, baseUrl, apiKey, ...names] = process.argv.slice(2);
const resolve = createRequire(join(sdk, "package.json")).resolve;
const { ApiError, GoogleGenAI } = await import(pathToFileURL(resolve("@google/genai")));

const [old, middle, recent] = ["gemini-2.0-flash", "gemini-2.5-flash", "gemini-3-pro-preview"];
const ask = "Tell me about tides, né 漢字 🙂";
const said = `You said: ${ask}`;
const weather = {
  functionDeclarations: [
    {
      name: "get_weather",
      parametersJsonSchema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  ],
};

const scripted = (script, more = {}) => ({ ...more, labels: { emulate: script } });

async function collect(stream) {
  const chunks = [];
  for await (const chunk of await stream) chunks.push(chunk);
  return chunks;
}

const stream = (client, script, model = middle) =>
  collect(client.models.generateContentStream({ model, contents: ask, config: scripted(script) }));

async function fails(status, words, call) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof ApiError, `${error}`);
    assert.equal(error.status, status, `${error}`);
    assert.ok(error.message.includes(words), error.message);
    return true;
  });
}

const cases = {
  async buffered(client) {
    const answer = await client.models.generateContent({ model: middle, contents: ask });
    assert.equal(answer.text, said);
    assert.equal(answer.candidates[0].finishReason, "STOP");
    const { promptTokenCount, candidatesTokenCount, thoughtsTokenCount, totalTokenCount } = answer.usageMetadata;
    assert.equal(promptTokenCount + candidatesTokenCount + thoughtsTokenCount, totalTokenCount);
  },
  async streamed(client) {
    const chunks = await collect(client.models.generateContentStream({ model: recent, contents: ask }));
    assert.equal(chunks.map((chunk) => chunk.text ?? "").join(""), said);
    assert.equal(chunks.at(-1).candidates[0].finishReason, "STOP");
    assert.ok(chunks.every((chunk) => chunk.usageMetadata.promptTokenCount > 0));
  },
  async thoughts(client) {
    const thinkingConfig = { thinkingBudget: -1, includeThoughts: true };
    const chunks = await collect(
      client.models.generateContentStream({ model: middle, contents: ask, config: { thinkingConfig } }),
    );
    assert.equal(chunks[0].candidates[0].content.parts[0].thought, true);
    assert.equal(chunks[0].usageMetadata.thoughtsTokenCount, 16);
    assert.equal(chunks.map((chunk) => chunk.text ?? "").join(""), said);
  },
  async tools(client) {
    for (const model of [old, recent]) {
      const contents = [{ role: "user", parts: [{ text: ask }] }];
      const config = scripted("tools=parallel", { tools: [weather] });
      const answer = await client.models.generateContent({ model, contents, config });
      const calls = answer.functionCalls;
      assert.deepEqual(calls.map((call) => call.args), [{ city: "value" }, { city: "value" }]);
      const parts = calls.map(({ id, name }) => ({ functionResponse: { id, name, response: { output: "sunny" } } }));
      contents.push(answer.candidates[0].content, { role: "user", parts });
      const after = await client.models.generateContent({ model, contents, config: { tools: [weather] } });
      assert.equal(after.text, said);
    }
  },
  async signatures(client) {
    const contents = [{ role: "user", parts: [{ text: ask }] }];
    const config = scripted("tools=single", { tools: [weather] });
    const chunks = await collect(client.models.generateContentStream({ model: recent, contents, config }));
    const [step] = chunks.flatMap((chunk) => chunk.candidates[0].content.parts).filter((part) => part.functionCall);
    assert.ok(step.thoughtSignature);
    const { id, name } = step.functionCall;
    const result = { role: "user", parts: [{ functionResponse: { id, name, response: { output: "sunny" } } }] };
    const after = (part) =>
      client.models.generateContent({
        model: recent,
        contents: [...contents, { role: "model", parts: [part] }, result],
        config: { tools: [weather] },
      });
    assert.equal((await after(step)).text, said);
    assert.equal((await after({ ...step, thoughtSignature: "skip_thought_signature_validator" })).text, said);
    await fails(400, "missing a thought_signature", () => after({ functionCall: step.functionCall }));
    await fails(400, "Corrupted", () => after({ ...step, thoughtSignature: "AAAA" }));
  },
  async chat(client) {
    const talk = client.chats.create({ model: recent });
    for (const question of ["one", "two"]) {
      const chunks = await collect(talk.sendMessageStream({ message: question }));
      assert.equal(chunks.map((chunk) => chunk.text ?? "").join(""), `You said: ${question}`);
    }
  },
  async structured(client) {
    const responseSchema = { type: "OBJECT", properties: { height_m: { type: "NUMBER" } } };
    const config = { responseMimeType: "application/json", responseSchema };
    const answer = await client.models.generateContent({ model: middle, contents: ask, config });
    assert.equal(answer.text, '{"height_m":1}');
  },
  async endings(client) {
    const blocked = await client.models.generateContent({ model: middle, contents: ask, config: scripted("refusal") });
    assert.equal(blocked.promptFeedback.blockReason, "PROHIBITED_CONTENT");
    for (const reason of ["SAFETY", "MALFORMED_FUNCTION_CALL"]) {
      const chunks = await stream(client, `finish=${reason}`, recent);
      assert.equal(chunks.at(-1).candidates[0].finishReason, reason);
    }
  },
  async embeddings(client) {
    const config = { outputDimensionality: 8 };
    const answer = await client.models.embedContent({ model: "gemini-embedding-001", contents: ["one", "two"], config });
    assert.deepEqual(answer.embeddings.map((row) => row.values.length), [8, 8]);
  },
  async counting(client) {
    const { totalTokens } = await client.models.countTokens({ model: middle, contents: ask });
    const answer = await client.models.generateContent({ model: middle, contents: ask });
    assert.equal(totalTokens, answer.usageMetadata.promptTokenCount);
  },
  async models(client) {
    const listed = [];
    for await (const model of await client.models.list({ config: { pageSize: 1 } })) listed.push(model.name);
    assert.equal(listed.length, 4);
    assert.equal((await client.models.get({ model: recent })).name, `models/${recent}`);
  },
  async caches(client) {
    const config = { contents: "tide ".repeat(5000), ttl: "300s" };
    const made = await client.caches.create({ model: middle, config });
    const cachedContent = made.name;
    const answer = await client.models.generateContent({ model: middle, contents: ask, config: { cachedContent } });
    assert.equal(answer.usageMetadata.cachedContentTokenCount, made.usageMetadata.totalTokenCount);
    await client.caches.update({ name: made.name, config: { ttl: "600s" } });
    await client.caches.delete({ name: made.name });
    await fails(403, "PERMISSION_DENIED", () => client.caches.get({ name: made.name }));
  },
  async errors(client) {
    const create = (change) => client.models.generateContent({ model: middle, contents: ask, ...change });
    const wrong = new GoogleGenAI({ apiKey: "wrong-key", httpOptions: { baseUrl } });
    await fails(400, "API_KEY_INVALID", () => wrong.models.generateContent({ model: middle, contents: ask }));
    await fails(404, "NOT_FOUND", () => create({ model: "gemini-none" }));
    await fails(400, "Cannot find field", () => create({ config: { httpOptions: { extraBody: { surprise: 1 } } } }));
    await fails(429, "34.07s", () => create({ config: scripted("status=429,retry_after_ms=34070") }));
    await fails(429, "RESOURCE_EXHAUSTED", () => stream(client, "status=429"));
  },
  async broken_stream(client) {
    await assert.rejects(stream(client, "chunks=20,cut=5"));
  },
  async error_chunk(client) {
    await fails(503, "UNAVAILABLE", () => stream(client, "error_event=3,code=UNAVAILABLE"));
  },
};

const client = new GoogleGenAI({ apiKey, httpOptions: { baseUrl, timeout: 20_000 } });
for (const name of names.length ? names : Object.keys(cases)) {
  await cases[name](client);
  console.log("ok", name);
}

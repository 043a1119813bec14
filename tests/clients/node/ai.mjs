// Vercel's AI SDK, in four grammars: told the base URL, the key and the model, and nothing else.
//
// usage: node ai.mjs GRAMMAR MODEL..; prints a line of JSON for each case, as the Python clients do.

import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogle } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, RetryError, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const QUESTION = "Tell me about tides, né 漢字 🙂";
const SAID = `You said: ${QUESTION}`;
const CITY = "Reykjavík";
const ASK_WEATHER = `What is the weather in ${CITY}?`;
// Nothing says this by chance: where it turns up in a request, the tool's result has come through.
const WEATHER = "a gale of 7F3A knots";
const NONE_SUCH = "openai/none-such-7";
// The gateway has tried for itself and says so, but the SDK tries twice more whatever it is told.
const TRIES = 3;

const { CLIENTS_GATEWAY, CLIENTS_KEY, CLIENTS_LIMITED, CLIENTS_LIMITED_KEY, CLIENTS_EMULATOR } = process.env;
const sound = { origin: CLIENTS_GATEWAY, key: CLIENTS_KEY };
const limited = { origin: CLIENTS_LIMITED, key: CLIENTS_LIMITED_KEY };

const grammars = {
  chat: ({ origin, key }) => createOpenAI({ baseURL: `${origin}/v1`, apiKey: key }).chat,
  responses: ({ origin, key }) => createOpenAI({ baseURL: `${origin}/v1`, apiKey: key }),
  messages: ({ origin, key }) => createAnthropic({ baseURL: `${origin}/v1`, apiKey: key }),
  generate: ({ origin, key }) => createGoogle({ baseURL: `${origin}/v1beta`, apiKey: key }),
};

async function fetchJson(url, init = {}) {
  return (await fetch(url, { ...init, headers: { "content-type": "application/json" } })).json();
}

async function script(...behaviours) {
  const url = `${CLIENTS_EMULATOR}/__emulator/script`;
  await fetchJson(url, { method: "DELETE" });
  await fetchJson(url, { method: "POST", body: JSON.stringify({ key: null, behaviours }) });
}

// The bodies that providers were sent.
async function sent() {
  const journal = await fetchJson(`${CLIENTS_EMULATOR}/__emulator/journal`);
  return journal.filter((entry) => entry.method === "POST").map((entry) => entry.body);
}

// A refusal as it came, from behind the tries that were made.
async function refused(call, status) {
  try {
    await call();
  } catch (error) {
    const last = RetryError.isInstance(error) ? error.lastError : error;
    assert.ok(APICallError.isInstance(last), `${last}`);
    assert.equal(last.statusCode, status);
    return last;
  }
  throw new Error(`nothing was refused with ${status}`);
}

const cases = {
  async chat(build, name) {
    assert.equal((await generateText({ model: build(sound)(name), prompt: QUESTION })).text, SAID);
  },
  async stream(build, name) {
    const pieces = [];
    const { textStream } = streamText({ model: build(sound)(name), prompt: QUESTION, onError: ({ error }) => { throw error; } });
    for await (const piece of textStream) pieces.push(piece);
    assert.equal(pieces.join(""), SAID);
    assert.ok(pieces.length > 1, "it came in one piece");
  },
  async "tool loop"(build, name) {
    const asked = [];
    const execute = async ({ city }) => (asked.push(city), WEATHER);
    const get_weather = tool({ description: "The weather in a city", inputSchema: z.object({ city: z.string() }), execute });
    await script({ call: "get_weather", arguments: { city: CITY }, times: 0 });
    const before = (await sent()).length;
    const { text } = await generateText({
      model: build(sound)(name), prompt: ASK_WEATHER, tools: { get_weather }, stopWhen: stepCountIs(4),
    });
    assert.deepEqual(asked, [CITY]);
    assert.equal(text, `You said: ${ASK_WEATHER}`);
    const bodies = (await sent()).slice(before);
    assert.deepEqual(bodies.map((body) => body.includes(WEATHER)), [false, true]);
  },
  async 404(build) {
    const error = await refused(() => generateText({ model: build(sound)(NONE_SUCH), prompt: QUESTION }), 404);
    assert.ok(error.message.includes(NONE_SUCH.split("/")[1]), error.message);
    return error.name;
  },
  async 429(build, name) {
    const counter = `${CLIENTS_LIMITED}/__counter`;
    await fetchJson(counter, { method: "DELETE" });
    const error = await refused(() => generateText({ model: build(limited)(name), prompt: QUESTION }), 429);
    assert.deepEqual(await fetchJson(counter), Array(TRIES).fill(429));
    return `${error.name}, asked ${TRIES}×`;
  },
};

const [grammar, ...models] = process.argv.slice(2);
for (const model of models) {
  for (const name of ["chat", "stream", "tool loop", "404", "429"]) {
    await script();
    try {
      const note = (await cases[name](grammars[grammar], model)) ?? "";
      console.log(JSON.stringify({ model, case: name, ok: true, note }));
    } catch (error) {
      console.error(error);
      console.log(JSON.stringify({ model, case: name, ok: false, note: `${error}` }));
    }
  }
}

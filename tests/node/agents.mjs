// Drives a gateway with inference.sh's own Node client, unmodified: its calls of agents.
//
// usage: node agents.mjs BASE_URL KEY READ_ONLY_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { register } from "node:module";

// The package names its own files without their extension, which bundlers complete and Node does not.
const complete = `export async function resolve(name, context, next) {
  const isIts = name.startsWith(".") && context.parentURL?.includes("/@inferencesh/sdk/") && !name.endsWith(".js");
  if (!isIts) return next(name, context);
  return next(name + ".js", context).catch(() => next(name + "/index.js", context));
}`;
register(`data:text/javascript,${encodeURIComponent(complete)}`);
const { inference } = await import("@inferencesh/sdk");

const [baseURL, apiKey] = process.argv.slice(2);
const client = inference({ apiKey, baseUrl: baseURL.replace(/\/v1$/, "") });
const textOf = (message) => message.content.map((part) => part.text ?? "").join("");

const agent = client.agent("helper");
const messages = new Map();
let words = "";
await agent.sendMessage("hello there", { onMessage: (message) => messages.set(message.id, message), onDelta: ({ output }) => { words = output.response; } });
const answer = [...messages.values()].findLast(({ role }) => role === "assistant");
assert.equal(textOf(answer), "You said: hello there");
assert.equal(answer.status, "ready");
console.log("ok stored_agent");

const said = {};
await agent.sendMessage("once more", { onMessage: (message) => { said[message.role] = message; } });
assert.equal(textOf(said.assistant), "You said: once more");
const chat = await agent.getChat();
assert.equal(chat.status, "idle");
assert.equal(chat.chat_messages.length, 4);
console.log("ok second_turn");

const beeper = client.agent({
  name: "beeper",
  core_app: { ref: "openai/gpt-4o-mini@latest" },
  system_prompt: "Beep.",
  tools: [{ name: "beep", type: "client", client: { input_schema: { type: "object", properties: {} } } }],
});
const called = [];
await beeper.sendMessage("beep", {
  onToolCall: ({ id, name, args }) => {
    called.push([name, args]);
    void beeper.submitToolResult(id, { beeped: 2 });
  },
});
assert.deepEqual(called, [["beep", { times: "2" }]]);
assert.equal((await beeper.getChat()).status, "idle");
console.log("ok client_tool");

const schema = { type: "object", required: ["city"], properties: { city: { type: "string" } } };
const placer = client.agent({ name: "placer", core_app: { ref: "openai/gpt-4o-mini" }, output_schema: schema });
assert.deepEqual(await placer.run("where?", { pollIntervalMs: 20 }), { city: "Rome" });
console.log("ok output");

await placer.stopChat();
placer.reset();
assert.equal(placer.currentChatId, null);
agent.disconnect();
beeper.disconnect();
console.log("ok stop");
process.exit(0);

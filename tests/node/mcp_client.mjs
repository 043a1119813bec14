// Drives a gateway's /mcp with the protocol's own Node client, unmodified.
//
// usage: node mcp_client.mjs BASE_URL KEY READ_ONLY_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { LoggingMessageNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

const [baseURL, apiKey, readKey] = process.argv.slice(2);
const url = new URL(baseURL.replace(/\/v1$/, "") + "/mcp");
const MINI = "openai/gpt-4o-mini";

async function connect(key) {
  const client = new Client({ name: "driver", version: "1.0.0" });
  const transport = new StreamableHTTPClientTransport(url, { requestInit: { headers: { authorization: `Bearer ${key}` } } });
  await client.connect(transport);
  return { client, transport };
}

const { client, transport } = await connect(apiKey);
assert.equal(client.getServerVersion().name, "tidegate");
assert.ok(transport.sessionId);
await client.ping();
console.log("ok begins");

const { tools } = await client.listTools();
const names = tools.map((tool) => tool.name);
assert.ok(names.includes("app_run") && names.includes("task_get"), names.join());
assert.ok(!names.includes("usage"), "an inference key is offered nothing that reads usage");
await assert.rejects(client.callTool({ name: "usage", arguments: {} }), /There is no tool/);
console.log("ok lists_tools");

const logged = [];
client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logged.push(params.data.status));
await client.setLoggingLevel("info");
const progress = [];
const run = { name: "app_run", arguments: { app: MINI, input: { prompt: "hello there" } } };
const ran = await client.callTool(run, undefined, { onprogress: (one) => progress.push(one.progress) });
assert.equal(ran.content[0].text, "You said: hello there");
assert.equal(ran.structuredContent.output.response, "You said: hello there");
assert.ok(progress.length > 0 && progress.every((one, at) => at === 0 || one > progress[at - 1]), progress.join());
assert.ok(logged.length > 0, "its statuses are logged");
console.log("ok runs_an_app");

const id = ran.structuredContent.task_id;
const link = ran.content.find((block) => block.type === "resource_link");
const read = await client.readResource({ uri: link.uri });
assert.equal(JSON.parse(read.contents[0].text).output.response, "You said: hello there");
const listed = await client.listResources();
assert.ok(listed.resources.some((resource) => resource.uri === `tidegate://tasks/${id}`));
const templates = await client.listResourceTemplates();
assert.ok(templates.resourceTemplates.some((template) => template.uriTemplate === "tidegate://tasks/{task_id}"));
await assert.rejects(client.readResource({ uri: "tidegate://usage" }), /There is no resource/);
console.log("ok reads_resources");

const completed = await client.complete({
  ref: { type: "ref/prompt", name: "write_input" },
  argument: { name: "app", value: "openai/gpt-4o" },
});
assert.ok(completed.completion.values.includes(MINI), completed.completion.values.join());
const { prompts } = await client.listPrompts();
assert.deepEqual(prompts.map((prompt) => prompt.name), ["write_input", "explain_task"]);
const prompt = await client.getPrompt({ name: "explain_task", arguments: { task_id: id } });
assert.match(prompt.messages[1].content.text, new RegExp(id));
console.log("ok completes_and_prompts");

const wrong = await client.callTool({ name: "app_run", arguments: { app: MINI, input: { prompt: 7 } } });
assert.equal(wrong.isError, true);
assert.match(wrong.content[0].text, /prompt/);
console.log("ok tells_what_is_wrong");

await transport.terminateSession();
await assert.rejects(client.ping());
console.log("ok ends");

const reader = await connect(readKey);
const usage = await reader.client.callTool({ name: "usage", arguments: { window: "24h", group_by: "model" } });
assert.equal(usage.structuredContent.object, "usage", JSON.stringify(usage));
const plan = await reader.client.callTool({ name: "plan", arguments: { model: MINI } });
assert.notEqual(plan.isError, true, JSON.stringify(plan));
const shown = await reader.client.readResource({ uri: "tidegate://usage/24h" });
assert.equal(JSON.parse(shown.contents[0].text).object, "usage");
await reader.client.close();
console.log("ok reads_usage_and_plans");

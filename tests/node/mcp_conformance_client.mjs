// The gateway's client of MCP servers, as a program that the public conformance suite runs against its own server: declares the server
// in a project, has it read, and calls its tools, through the public API alone.
//
// usage: node mcp_conformance_client.mjs BASE_URL KEY ADMIN_KEY SERVER_URL

import assert from "node:assert/strict";

const [baseURL, apiKey, adminKey, url] = process.argv.slice(2);
const origin = new URL(baseURL).origin;

async function send(path, key, body, headers = {}) {
  const sent = { authorization: `Bearer ${key}`, "content-type": "application/json", accept: "application/json", ...headers };
  const answer = await fetch(origin + path, { method: "POST", headers: sent, body: JSON.stringify(body) });
  const text = await answer.text();
  assert.ok(answer.ok, `${path}: ${answer.status} ${text}`);
  return { document: text === "" ? null : JSON.parse(text), headers: answer.headers };
}

const name = `suite-${process.pid}`;
const server = new URL(url);
// The suite says "localhost" and listens on every address.
if (server.hostname === "localhost") server.hostname = "127.0.0.1";
const made = await send("/v2/mcp-servers", adminKey, { name, url: server.href });
const read = await send(`/v2/mcp-servers/${made.document.id}/refresh`, adminKey, {});

const message = (id, method, params) => ({ jsonrpc: "2.0", id, method, params });
const hello = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "driver", version: "1.0.0" } };
const begun = await send("/mcp", apiKey, message(1, "initialize", hello));
const session = { "mcp-session-id": begun.headers.get("mcp-session-id") };
for (const tool of read.document.tools) {
  const params = { name: `${name}__${tool.name}`, arguments: tool.name === "add_numbers" ? { a: 5, b: 3 } : {} };
  const called = await send("/mcp", apiKey, message(2, "tools/call", params), session);
  assert.equal(called.document.result?.isError, false, JSON.stringify(called.document));
}

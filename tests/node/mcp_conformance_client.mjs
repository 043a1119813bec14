// The gateway's client of MCP servers, as a program that the public conformance suite runs against its own server: declares the server
// in a project, signs in for it where it wants a token, has it read, and calls its tools, through the public API alone.
//
// usage: node mcp_conformance_client.mjs BASE_URL KEY ADMIN_KEY SERVER_URL
// The session of a person who may administer is in SUITE_COOKIE and SUITE_CSRF; the suite says in MCP_CONFORMANCE_SCENARIO which
// scenario runs, and in MCP_CONFORMANCE_CONTEXT what it gives its client.

import assert from "node:assert/strict";

const [baseURL, apiKey, adminKey, url] = process.argv.slice(2);
const origin = new URL(baseURL).origin;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const wantsToken = scenario?.startsWith("auth/") ?? false;

async function post(path, headers, body) {
  const sent = { "content-type": "application/json", accept: "application/json", ...headers };
  const answer = await fetch(origin + path, { method: "POST", headers: sent, body: JSON.stringify(body) });
  const text = await answer.text();
  assert.ok(answer.ok, `${path}: ${answer.status} ${text}`);
  return { document: text === "" ? null : JSON.parse(text), headers: answer.headers };
}

const asAdmin = (path, body) => post(path, { authorization: `Bearer ${adminKey}` }, body);
const asPerson = (path, body) => {
  const { SUITE_COOKIE: cookie, SUITE_CSRF: csrf } = process.env;
  return post(path, { cookie, origin, "x-tidegate-csrf": csrf, "sec-fetch-site": "same-origin" }, body);
};

const name = `suite-${process.pid}`;
const auth = { type: "oauth" };
// The document of metadata by whose address the suite knows its clients; nobody fetches it.
if (scenario === "auth/basic-cimd") auth.client_id = "https://conformance-test.local/client-metadata.json";
for (const field of ["client_id", "client_secret"]) if (context[field] !== undefined) auth[field] = context[field];
const made = await asAdmin("/v2/mcp-servers", { name, url, ...(wantsToken ? { auth } : {}) });
const server = `/v2/mcp-servers/${made.document.id}`;

// Goes where a browser goes: to the authorization server, and with its answer to the console, which brings it to the gateway.
async function signIn() {
  const begun = await asPerson(`${server}/authorize`, {});
  const answer = await fetch(begun.document.authorization_url, { redirect: "manual" });
  assert.equal(answer.status, 302, await answer.text());
  const back = new URL(answer.headers.get("location"));
  assert.equal(back.pathname, "/mcp-servers/authorized");
  return (await asPerson(`/v2${back.pathname}`, Object.fromEntries(back.searchParams))).document;
}

let read = wantsToken ? await signIn() : (await asAdmin(`${server}/refresh`, {})).document;
assert.equal(read.health, "ready", read.error);

const message = (id, method, params) => ({ jsonrpc: "2.0", id, method, params });
const hello = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "driver", version: "1.0.0" } };
const withKey = { authorization: `Bearer ${apiKey}` };
const begun = await post("/mcp", withKey, message(1, "initialize", hello));
const session = { ...withKey, "mcp-session-id": begun.headers.get("mcp-session-id") };

async function call(tool) {
  const params = { name: `${name}__${tool.name}`, arguments: tool.name === "add_numbers" ? { a: 5, b: 3 } : {} };
  const called = await post("/mcp", session, message(2, "tools/call", params));
  return called.document;
}

for (const tool of read.tools) {
  let called = await call(tool);
  if (called.result?.isError) {
    const shown = await (await fetch(origin + server, { headers: { authorization: `Bearer ${adminKey}` } })).json();
    // A person gives the scopes that the call lacked.
    if (shown.authorization?.wanted_scopes.length > 0) {
      read = await signIn();
      called = await call(tool);
    }
  }
  assert.equal(called.result?.isError, false, JSON.stringify(called));
}

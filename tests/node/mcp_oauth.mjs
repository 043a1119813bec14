// Signs the protocol's own Node client in at a gateway, unmodified: discovery, registration, consent, tokens, and their renewal.
//
// usage: node mcp_oauth.mjs URL
// Prints `go ADDRESS`, reads the address that the browser comes back with, and prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { createInterface } from "node:readline/promises";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const url = new URL(process.argv[2]);
const kept = {};
const authProvider = {
  redirectUrl: "http://127.0.0.1:33418/callback",
  clientMetadata: { client_name: "driver", redirect_uris: ["http://127.0.0.1:33418/callback"], grant_types: ["authorization_code", "refresh_token"], response_types: ["code"], token_endpoint_auth_method: "none" },
  state: () => "a state",
  clientInformation: () => kept.client,
  saveClientInformation: (client) => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => void (kept.tokens = tokens),
  redirectToAuthorization: (address) => void (kept.address = address),
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  codeVerifier: () => kept.verifier,
};
const connect = async () => {
  const client = new Client({ name: "driver", version: "1.0.0" });
  const transport = new StreamableHTTPClientTransport(url, { authProvider });
  await client.connect(transport);
  return client;
};

await assert.rejects(connect(), UnauthorizedError);
assert.equal(kept.address.pathname, "/authorize");
assert.equal(kept.address.searchParams.get("code_challenge_method"), "S256");
assert.equal(kept.address.searchParams.get("resource"), url.href);
console.log("ok is_sent_to_its_person");

console.log(`go ${kept.address}`);
const lines = createInterface({ input: process.stdin });
const back = new URL((await lines[Symbol.asyncIterator]().next()).value);
lines.close();
assert.equal(back.searchParams.get("state"), "a state");
await new StreamableHTTPClientTransport(url, { authProvider }).finishAuth(back.searchParams.get("code"));
const client = await connect();
const names = (await client.listTools()).tools.map((tool) => tool.name);
assert.ok(names.includes("app_run") && !names.includes("usage"), names.join());
const run = { name: "app_run", arguments: { app: "openai/gpt-4o-mini", input: { prompt: "hello there" } } };
assert.equal((await client.callTool(run)).content[0].text, "You said: hello there");
console.log("ok calls_with_its_token");

const first = kept.tokens;
kept.tokens = { ...first, access_token: `${first.access_token.slice(0, -4)}0000` };
await client.ping();
assert.notEqual(kept.tokens.access_token, first.access_token);
assert.notEqual(kept.tokens.refresh_token, first.refresh_token);
console.log("ok renews_within_its_session");
process.exit(0);

// Opens a realtime session as a browser does: its WebSocket can send no header, so the key travels among the names of
// protocols. (The SDK's own class for browsers speaks TLS alone.)
//
// usage: node --experimental-websocket realtime.mjs BASE_URL KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";

const [baseURL, key] = process.argv.slice(2);
const url = `${baseURL.replace(/^http/, "ws")}/realtime?model=openai/gpt-realtime-1.5`;

function open(key) {
  const socket = new WebSocket(url, ["realtime", `openai-insecure-api-key.${key}`]);
  const events = [];
  let wake = () => {};
  socket.onmessage = (message) => {
    events.push(JSON.parse(message.data));
    wake();
  };
  const until = async (type) => {
    for (;;) {
      while (events.length > 0) {
        const event = events.shift();
        if (event.type === type) return event;
      }
      await new Promise((resolve) => (wake = resolve));
    }
  };
  return { socket, until };
}

const { socket, until } = open(key);
await until("session.created");
assert.equal(socket.protocol, "realtime");
console.log("ok opened");
const say = (event) => socket.send(JSON.stringify(event));
say({ type: "session.update", session: { type: "realtime", output_modalities: ["text"] } });
const content = [{ type: "input_text", text: "hello" }];
say({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
say({ type: "response.create" });
const done = await until("response.done");
assert.equal(done.response.usage.output_tokens, 6);
console.log("ok answered");
const closed = new Promise((resolve) => (socket.onclose = resolve));
socket.close(1000);
assert.equal((await closed).code, 1000);
console.log("ok closed");

await new Promise((resolve) => (open("tg_live_nobody").socket.onerror = resolve));
console.log("ok refused");

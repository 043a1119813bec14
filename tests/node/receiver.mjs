// Receives webhooks and checks them with the official library of Standard Webhooks, as a customer's own server would.
//
// Prints {"port"} first, then one JSON line for each request. Takes JSON lines on stdin: {"secret"} to check with, and
// {"answers": [status, …]} for what to answer next; 204 where nothing is said. A message that was taken before is known by its
// id and not taken twice.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

let secret = "";
let answers = [];
const taken = new Set();

function check(headers, body) {
  try {
    new Webhook(secret).verify(body, headers);
    return null;
  } catch (error) {
    return error.message;
  }
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const told = JSON.parse(line);
  if (told.secret) secret = told.secret;
  if (told.answers) answers = told.answers;
  console.log(JSON.stringify({ told: Object.keys(told)[0] }));
});

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString();
  const error = check(request.headers, body);
  const id = request.headers["webhook-id"];
  const duplicate = taken.has(id);
  const status = error ? 401 : (answers.shift() ?? 204);
  if (status === 204) taken.add(id);
  const shown = Object.fromEntries(
    Object.entries(request.headers).filter(([name]) => name.startsWith("webhook-") || name === "content-type"),
  );
  const from = request.socket.remotePort;
  console.log(JSON.stringify({ path: request.url, from, headers: shown, body, error, duplicate, status }));
  response.writeHead(status, status === 302 ? { location: "/elsewhere" } : {});
  response.end(status === 204 ? "" : "what stands behind this address");
});

server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));

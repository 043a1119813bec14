// Asks servers with the official Node SDKs, unmodified, and says what an application is told when they fail.
//
// One JSON command a line on stdin: {id, sdk, surface, base_url, api_key, model, stream, timeout_s, patience_s}.
// One JSON line for each on stdout: {id, raised, status, code, pieces, whole}.

import { createInterface } from "node:readline";
import Anthropic from "@anthropic-ai/sdk";
import { ApiError, GoogleGenAI } from "@google/genai";
import OpenAI from "openai";

const ASK = "hello there";
const AT_ONCE = 6;

// This API tells of a failure in an answer's own status, which its SDK leaves to whoever reads it.
class ResponseFailed extends Error {}

function ended(response) {
  if (response.status !== "failed") return response.status;
  throw Object.assign(new ResponseFailed("failed"), { code: response.error?.code });
}

const surfaces = {
  async *chat({ base_url, api_key, model, stream, timeout_s }) {
    const client = new OpenAI({ baseURL: base_url, apiKey: api_key, timeout: timeout_s * 1000 });
    const answer = await client.chat.completions.create({ model, messages: [{ role: "user", content: ASK }], stream });
    if (!stream) return yield answer?.choices?.[0]?.finish_reason;
    for await (const chunk of answer) yield chunk.choices[0]?.finish_reason;
  },
  async *responses({ base_url, api_key, model, stream, timeout_s }) {
    const client = new OpenAI({ baseURL: base_url, apiKey: api_key, timeout: timeout_s * 1000 });
    const answer = await client.responses.create({ model, input: ASK, stream });
    if (!stream) return yield ended(answer);
    let last = null;
    for await (const event of answer) {
      if (["response.completed", "response.failed", "response.incomplete"].includes(event.type)) last = event.response;
      else yield null;
    }
    // Whoever reads to the end must get there: what is broken off behind its last event is told as a broken connection.
    if (last) yield ended(last);
  },
  async *messages({ base_url, api_key, model, stream, timeout_s }) {
    const client = new Anthropic({ baseURL: base_url, apiKey: api_key, timeout: timeout_s * 1000 });
    const messages = [{ role: "user", content: ASK }];
    const answer = await client.messages.create({ model, max_tokens: 100, messages, stream });
    if (!stream) return yield answer?.stop_reason;
    for await (const event of answer) yield event.type === "message_stop";
  },
  async *gemini({ base_url, api_key, model, stream, timeout_s }) {
    const client = new GoogleGenAI({ apiKey: api_key, httpOptions: { baseUrl: base_url, timeout: timeout_s * 1000 } });
    const ask = { model, contents: ASK };
    const end = (chunk) => chunk?.promptFeedback?.blockReason ?? chunk?.candidates?.[0]?.finishReason;
    if (!stream) return yield end(await client.models.generateContent(ask));
    for await (const chunk of await client.models.generateContentStream(ask)) yield end(chunk);
  },
};

// What a program would match on. The Gemini SDK has only a text, with the body in it.
function codeOf(error) {
  if (error instanceof ApiError) return /"status":"([A-Z_]+)"/.exec(error.message)?.[1] ?? null;
  const code = error?.error?.error?.type ?? error?.code ?? error?.type;
  return code == null ? null : String(code);
}

async function told(command) {
  const answer = { id: command.id, raised: null, status: null, code: null, pieces: 0, whole: false };
  try {
    for await (const end of surfaces[command.surface](command)) {
      answer.pieces += 1;
      answer.whole ||= Boolean(end);
    }
  } catch (error) {
    const home = error instanceof Error && error.constructor.name in globalThis ? "js" : command.sdk;
    answer.raised = `${home}.${error?.constructor?.name}`;
    answer.status = error?.status ?? null;
    answer.code = codeOf(error);
  }
  return answer;
}

// An SDK that was told to wait for an hour does; nobody waits for it here.
function patiently(command) {
  const asleep = { id: command.id, raised: "asleep", status: null, code: null, pieces: 0, whole: false };
  const late = new Promise((done) => setTimeout(done, command.patience_s * 1000, asleep).unref());
  return Promise.race([told(command), late]);
}

const commands = [];
for await (const line of createInterface({ input: process.stdin })) if (line.trim()) commands.push(JSON.parse(line));
const queue = commands.values();
async function work() {
  for (const command of queue) console.log(JSON.stringify(await patiently(command)));
}
await Promise.all(Array.from({ length: AT_ONCE }, work));
process.exit(0);

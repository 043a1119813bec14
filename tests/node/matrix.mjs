// Drives a gateway with the official Node SDKs, unmodified, as one long-lived program: a command a line, a result a line,
// in the same form and with the same cases as tests/sdk/matrix.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import Anthropic from "@anthropic-ai/sdk";
import { ApiError, GoogleGenAI } from "@google/genai";
import OpenAI from "openai";

const asked = JSON.parse(readFileSync(new URL("../sdk/matrix.json", import.meta.url), "utf8"));
const ROUNDS_MAX = 5;
const TIMEOUT_MS = 20_000;
const THINKING_TOKENS = 1024;
const ANSWER_TOKENS_MAX = 4096;

const joined = (texts) => texts.join("");
const question = () => [{ role: "user", content: asked.question }];
const history = () => asked.history.map(([role, content]) => ({ role, content }));
const dataUrl = "data:image/png;base64," + asked.image;

/// Looks at every request on its way out.
function recorder() {
  const bodies = [];
  const look = (url, init) => {
    if (init?.body) bodies.push(init.body);
    return fetch(url, init);
  };
  const sent = (model) => bodies.map((body) => body.replace(JSON.stringify(model), '"*"'));
  return { look, sent };
}

class Chat {
  constructor(command, look) {
    const { base_url, api_key: apiKey, model } = command;
    this.client = new OpenAI({ baseURL: base_url + "/v1", apiKey, timeout: TIMEOUT_MS, fetch: look });
    this.stream = command.stream;
    this.request = { model, messages: question() };
  }
  text() {}
  system() {
    this.request.messages = [{ role: "system", content: asked.instructions }, ...history()];
  }
  length() {
    this.request.max_completion_tokens = asked.answer_tokens_max;
  }
  stop() {
    Object.assign(this.request, { stop: [asked.stop], temperature: 0.5 });
  }
  image() {
    this.request.messages[0].content = [
      { type: "text", text: asked.question },
      { type: "image_url", image_url: { url: dataUrl } },
    ];
  }
  schema() {
    const json_schema = { name: "harbour", schema: asked.schema, strict: true };
    this.request.response_format = { type: "json_schema", json_schema };
  }
  tools() {
    this.request.tools = asked.tools.map((tool) => ({ type: "function", function: tool }));
  }
  thinking() {
    this.request.reasoning_effort = "low";
  }
  async ask() {
    const completions = this.client.chat.completions;
    const more = { stream_options: { include_usage: true } };
    let thought = "";
    const streamed = this.stream ? completions.stream({ ...this.request, ...more }) : undefined;
    // The helper keeps the last piece of a field that it doesn't know.
    streamed?.on("chunk", ({ choices }) => {
      thought += choices[0]?.delta.reasoning_content ?? "";
    });
    const completion = await (streamed?.finalChatCompletion() ?? completions.create(this.request));
    const { message, finish_reason } = completion.choices[0];
    if (thought) message.reasoning_content = thought;
    // What the SDK's helper adds for its user, no API takes back.
    delete message.parsed;
    message.tool_calls?.forEach((call) => delete call.function.parsed_arguments);
    const { usage } = completion;
    this.request.messages.push(message);
    this.calls = message.tool_calls ?? [];
    // xAI counts thoughts beside what was said, and its bytes pass.
    const beside = usage.completion_tokens_details?.reasoning_tokens ?? 0;
    const rest = usage.total_tokens - usage.prompt_tokens - usage.completion_tokens;
    assert.ok([0, beside].includes(rest), JSON.stringify(usage));
    return {
      text: message.content ?? "",
      thought: message.reasoning_content ?? "",
      calls: this.calls.map((call) => ({ name: call.function.name, arguments: call.function.arguments })),
      finish: finish_reason,
      usage: {
        input: usage.prompt_tokens,
        output: usage.completion_tokens,
        cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
        reasoning: usage.completion_tokens_details?.reasoning_tokens ?? 0,
      },
    };
  }
  reply() {
    for (const call of this.calls) {
      const content = asked.results[call.function.name];
      this.request.messages.push({ role: "tool", tool_call_id: call.id, content });
    }
  }
}

class Responses {
  constructor(command, look) {
    const { base_url, api_key: apiKey, model } = command;
    this.client = new OpenAI({ baseURL: base_url + "/v1", apiKey, timeout: TIMEOUT_MS, fetch: look });
    this.stream = command.stream;
    this.request = { model, input: question() };
  }
  text() {}
  system() {
    Object.assign(this.request, { instructions: asked.instructions, input: history() });
  }
  length() {
    this.request.max_output_tokens = asked.answer_tokens_max;
  }
  image() {
    this.request.input[0].content = [
      { type: "input_text", text: asked.question },
      { type: "input_image", image_url: dataUrl, detail: "auto" },
    ];
  }
  schema() {
    const format = { type: "json_schema", name: "harbour", schema: asked.schema, strict: true };
    this.request.text = { format };
  }
  tools() {
    this.request.tools = asked.tools.map((tool) => ({ type: "function", strict: false, ...tool }));
  }
  thinking() {
    const reasoning = { effort: "low", summary: "auto" };
    Object.assign(this.request, { reasoning, store: false, include: ["reasoning.encrypted_content"] });
  }
  async ask() {
    const response = this.stream
      ? await last(await this.client.responses.create({ ...this.request, stream: true }))
      : await this.client.responses.create(this.request);
    if (response.status === "failed") throw new OpenAI.APIError(undefined, response.error, undefined, undefined);
    const { usage, output } = response;
    this.request.input.push(...output);
    this.calls = output.filter((item) => item.type === "function_call");
    const why = response.incomplete_details?.reason;
    const thoughts = output.filter((item) => item.type === "reasoning");
    assert.equal(usage.total_tokens, usage.input_tokens + usage.output_tokens);
    return {
      text: joined(output.flatMap((item) => item.content ?? []).map((part) => (part.type === "output_text" ? part.text : ""))),
      thought: joined(thoughts.flatMap((item) => (item.content?.length ? item.content : item.summary)).map((part) => part.text)),
      calls: this.calls.map(({ name, arguments: text }) => ({ name, arguments: text })),
      finish: why ? `${response.status}:${why}` : response.status,
      usage: {
        input: usage.input_tokens,
        output: usage.output_tokens,
        cached: usage.input_tokens_details.cached_tokens,
        reasoning: usage.output_tokens_details.reasoning_tokens,
      },
    };
  }
  reply() {
    for (const call of this.calls) {
      const output = asked.results[call.name];
      this.request.input.push({ type: "function_call_output", call_id: call.call_id, output });
    }
  }
}

class Messages {
  constructor(command, look) {
    const { base_url: baseURL, api_key: apiKey, model } = command;
    this.client = new Anthropic({ baseURL, apiKey, timeout: TIMEOUT_MS, fetch: look });
    this.stream = command.stream;
    this.request = { model, max_tokens: ANSWER_TOKENS_MAX, messages: question() };
  }
  text() {}
  system() {
    Object.assign(this.request, { system: asked.instructions, messages: history() });
  }
  length() {
    this.request.max_tokens = asked.answer_tokens_max;
  }
  stop() {
    this.request.stop_sequences = [asked.stop];
  }
  image() {
    const source = { type: "base64", media_type: "image/png", data: asked.image };
    this.request.messages[0].content = [
      { type: "text", text: asked.question },
      { type: "image", source },
    ];
  }
  schema() {
    this.request.output_config = { format: { type: "json_schema", schema: asked.schema } };
  }
  tools() {
    this.request.tools = asked.tools.map(({ name, description, parameters }) => ({
      name,
      description,
      input_schema: parameters,
    }));
  }
  thinking() {
    this.request.thinking = { type: "enabled", budget_tokens: THINKING_TOKENS };
  }
  async ask() {
    const message = this.stream
      ? await this.client.messages.stream(this.request).finalMessage()
      : await this.client.messages.create(this.request);
    const { usage, content } = message;
    this.request.messages.push({ role: "assistant", content });
    this.calls = content.filter((block) => block.type === "tool_use");
    const cached = usage.cache_read_input_tokens ?? 0;
    const of = (kind) => content.filter((block) => block.type === kind);
    return {
      text: joined(of("text").map((block) => block.text)),
      thought: joined(of("thinking").map((block) => block.thinking)),
      calls: this.calls.map(({ name, input }) => ({ name, arguments: JSON.stringify(input) })),
      finish: message.stop_reason,
      usage: {
        input: usage.input_tokens + cached + (usage.cache_creation_input_tokens ?? 0),
        output: usage.output_tokens,
        cached,
        reasoning: usage.output_tokens_details?.thinking_tokens ?? 0,
      },
    };
  }
  reply() {
    const results = this.calls.map((call) => ({
      type: "tool_result",
      tool_use_id: call.id,
      content: asked.results[call.name],
    }));
    this.request.messages.push({ role: "user", content: results });
  }
}

class Gemini {
  constructor(command, look) {
    const { base_url: baseUrl, api_key: apiKey, model } = command;
    this.client = new GoogleGenAI({ apiKey, httpOptions: { baseUrl, timeout: TIMEOUT_MS, fetch: look } });
    this.stream = command.stream;
    this.options = { model, config: {}, history: [] };
    this.message = [{ text: asked.question }];
  }
  text() {}
  system() {
    this.options.config.systemInstruction = asked.instructions;
    const turns = asked.history.map(([role, text]) => ({ role: role === "user" ? role : "model", parts: [{ text }] }));
    this.message = turns.pop().parts;
    this.options.history = turns;
  }
  length() {
    this.options.config.maxOutputTokens = asked.answer_tokens_max;
  }
  stop() {
    Object.assign(this.options.config, { stopSequences: [asked.stop], temperature: 0.5 });
  }
  image() {
    this.message.push({ inlineData: { mimeType: "image/png", data: asked.image } });
  }
  schema() {
    const config = { responseMimeType: "application/json", responseJsonSchema: asked.schema };
    Object.assign(this.options.config, config);
  }
  tools() {
    const functionDeclarations = asked.tools.map(({ name, description, parameters }) => ({
      name,
      description,
      parametersJsonSchema: parameters,
    }));
    this.options.config.tools = [{ functionDeclarations }];
  }
  thinking() {
    this.options.config.thinkingConfig = { includeThoughts: true, thinkingBudget: THINKING_TOKENS };
  }
  /// The SDK's own chat keeps the history of whole answers. Of streams it keeps each chunk as a turn, and calls that came
  /// apart then have no results: there the contents are kept here, as applications do.
  async ask() {
    this.chat ??= this.client.chats.create(this.options);
    const { message } = this;
    const chunks = this.stream ? await this.streamed(message) : [await this.chat.sendMessage({ message })];
    const candidates = chunks.flatMap((chunk) => chunk.candidates?.slice(0, 1) ?? []);
    const parts = candidates.flatMap((candidate) => candidate.content?.parts ?? []);
    const ends = candidates.flatMap((candidate) => candidate.finishReason ?? []);
    const usage = chunks.flatMap((chunk) => chunk.usageMetadata ?? []).pop();
    assert.equal(ends.length, 1);
    this.calls = parts.flatMap((part) => part.functionCall ?? []);
    const reasoning = usage.thoughtsTokenCount ?? 0;
    const input = usage.promptTokenCount + (usage.toolUsePromptTokenCount ?? 0);
    const output = (usage.candidatesTokenCount ?? 0) + reasoning;
    assert.equal(usage.totalTokenCount, input + output);
    return {
      text: joined(parts.map((part) => (part.thought ? "" : (part.text ?? "")))),
      thought: joined(parts.map((part) => (part.thought ? (part.text ?? "") : ""))),
      calls: this.calls.map(({ name, args }) => ({ name, arguments: JSON.stringify(args ?? {}) })),
      finish: ends[0],
      usage: { input, output, cached: usage.cachedContentTokenCount ?? 0, reasoning },
    };
  }
  async streamed(parts) {
    const { model, config, history } = this.options;
    history.push({ role: "user", parts });
    const chunks = await collect(await this.client.models.generateContentStream({ model, config, contents: history }));
    const said = chunks.flatMap((chunk) => chunk.candidates?.[0]?.content?.parts ?? []);
    history.push({ role: "model", parts: said });
    return chunks;
  }
  reply() {
    this.message = this.calls.map(({ id, name }) => ({
      functionResponse: { id, name, response: { result: asked.results[name] } },
    }));
  }
}

/// The response that a stream ends with, whose text must be what the stream spelt.
async function last(events) {
  let [spelt, response] = ["", null];
  for await (const event of events) {
    if (event.type === "response.output_text.delta") spelt += event.delta;
    if (["response.completed", "response.incomplete", "response.failed"].includes(event.type)) response = event.response;
    if (event.type === "response.failed") return response;
  }
  assert.ok(response, "the stream ended without an end");
  const parts = response.output.flatMap((item) => (item.type === "message" ? item.content : []));
  assert.equal(spelt, joined(parts.map((part) => part.text)));
  return response;
}

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const clients = { chat: Chat, responses: Responses, messages: Messages, gemini: Gemini };
const failures = [OpenAI.OpenAIError, Anthropic.AnthropicError, ApiError];

function errorOf(failure) {
  const status = failure.status ?? null;
  const code = failure.code ?? failure.type ?? null;
  const foreseen = failures.some((kind) => failure instanceof kind);
  return { class: failure.constructor.name, status, code, message: String(failure.message), foreseen };
}

async function run(command) {
  const { look, sent } = recorder();
  const client = new clients[command.client](command, look);
  const rounds = [];
  let error = null;
  for (const step of command.case === "thinking_tools" ? ["tools", "thinking"] : [command.case]) client[step]();
  try {
    while (rounds.length < ROUNDS_MAX) {
      rounds.push(await client.ask());
      if (client.calls.length === 0) break;
      client.reply();
    }
  } catch (failure) {
    // Whatever an SDK throws is a result; what it is not prepared for is the more so.
    error = errorOf(failure);
  }
  return { id: command.id, rounds, error, sent: sent(command.model) };
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await run(JSON.parse(line))));
}

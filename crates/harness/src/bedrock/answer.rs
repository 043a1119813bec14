//! The two forms of a Converse response: buffered, and as stream events.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::error::Refusal;
use crate::emulator::frames::Event;
use crate::emulator::{Behaviour, Part, PartRole, UsageMode};
use crate::members::{join, put};
use crate::openai::answer::{Call, Choice, Reply, thinking};
use crate::openai::{stream, tokens};

/// The most frequent cause of a broken stream.
const STREAM_ERROR: &str = "modelStreamErrorException";
/// Payloads are padded to hide their length.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// A response with the cost of its prompt.
pub(super) struct MeteredReply<'a> {
    pub(super) reply: &'a Reply,
    pub(super) written_tokens: u64,
    pub(super) mode: UsageMode,
}

/// The signature of a thinking block, checked when a client sends it back.
pub(super) fn signature(thought: &str) -> String {
    STANDARD.encode(digest::digest(&digest::SHA256, format!("of the emulator: {thought}").as_bytes()))
}

/// Bedrock's stop reason.
fn stop_reason(choice: &Choice) -> String {
    match choice.finish.as_str() {
        "stop" if choice.is_stopped => "stop_sequence".to_owned(),
        "stop" => "end_turn".to_owned(),
        "length" => "max_tokens".to_owned(),
        "tool_calls" => "tool_use".to_owned(),
        "content_filter" => "guardrail_intervened".to_owned(),
        own => own.to_owned(),
    }
}

impl MeteredReply<'_> {
    fn thought(&self) -> Option<String> {
        (self.reply.reasoning_tokens > 0).then(|| thinking(self.reply.reasoning_tokens))
    }

    fn usage(&self) -> Value {
        let report = |tokens: u64| if self.mode == UsageMode::Zero { 0 } else { tokens };
        let (read, written) = (report(self.reply.cached_tokens), report(self.written_tokens));
        let input = report(self.reply.prompt_tokens).saturating_sub(read + written);
        let output = report(self.reply.completion_tokens);
        let mut usage = json!({
            "inputTokens": input, "outputTokens": output, "totalTokens": input + read + written + output,
        });
        if read + written > 0 {
            join(&mut usage, json!({"cacheReadInputTokens": read, "cacheWriteInputTokens": written}));
        }
        usage
    }

    pub(super) fn whole(&self) -> Value {
        let choice = self.reply.choices.first().cloned().unwrap_or_default();
        let mut content = Vec::new();
        if let Some(text) = self.thought() {
            let signature = signature(&text);
            content
                .push(json!({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}));
        }
        let text = choice.pieces.concat();
        if !text.is_empty() {
            content.push(json!({"text": text}));
        }
        content.extend(choice.calls.iter().map(|call| {
            let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            json!({"toolUse": {"toolUseId": id(call), "name": call.name, "input": input}})
        }));
        let mut body = json!({
            "metrics": {"latencyMs": 1}, "output": {"message": {"content": content, "role": "assistant"}},
            "stopReason": stop_reason(&choice),
        });
        if self.mode != UsageMode::Missing {
            put(&mut body, "usage", self.usage());
        }
        body
    }

    pub(super) fn parts(&self, behaviour: &Behaviour) -> Vec<Part> {
        let choice = self.reply.choices.first().cloned().unwrap_or_default();
        let mut events = Events { events: Vec::new(), left: self.reply.completion_tokens, index: 0 };
        events.push("messageStart", json!({"role": "assistant"}), 0, PartRole::Role);
        if let Some(text) = self.thought() {
            let generated = self.reply.reasoning_tokens;
            events.delta(&json!({"reasoningContent": {"text": text}}), generated, PartRole::Content);
            events.delta(&json!({"reasoningContent": {"signature": signature(&text)}}), 0, PartRole::Frame);
            events.stop();
        }
        for piece in &choice.pieces {
            events.delta(&json!({"text": piece}), tokens::count(piece), PartRole::Content);
        }
        if !choice.pieces.is_empty() {
            events.stop();
        }
        choice.calls.iter().for_each(|call| events.call(call));
        if !behaviour.no_done {
            let reason = stop_reason(&choice);
            events.push("messageStop", json!({"stopReason": reason}), u64::MAX, PartRole::Finish);
            if self.mode != UsageMode::Missing {
                let metadata = json!({"metrics": {"latencyMs": 1}, "usage": self.usage()});
                events.push("metadata", metadata, 0, PartRole::Usage);
            }
        }
        super::events::parts(events.events, behaviour, || exception(behaviour))
    }
}

fn exception(behaviour: &Behaviour) -> Event {
    let refusal = Refusal::scripted(424, behaviour);
    let name = match behaviour.code.as_deref() {
        Some("throttlingException") => "throttlingException",
        Some("serviceUnavailableException") => "serviceUnavailableException",
        Some("internalServerException") => "internalServerException",
        Some("validationException") => "validationException",
        _ => STREAM_ERROR,
    };
    let data = json!({"message": refusal.message}).to_string();
    Event { name: Some(name), data, tokens: 0, role: PartRole::Error }
}

fn id(call: &Call) -> String {
    call.id.replacen("call_", "tooluse_", 1)
}

struct Events {
    events: Vec<Event>,
    left: u64,
    /// The index of the open content block.
    index: usize,
}

impl Events {
    fn delta(&mut self, delta: &Value, tokens: u64, role: PartRole) {
        let body = json!({"contentBlockIndex": self.index, "delta": delta});
        self.push("contentBlockDelta", body, tokens, role);
    }

    fn stop(&mut self) {
        self.push("contentBlockStop", json!({"contentBlockIndex": self.index}), 0, PartRole::Frame);
        self.index += 1;
    }

    /// Only tool calls have a start event: text blocks begin with their first delta.
    fn call(&mut self, call: &Call) {
        let start = json!({"toolUse": {"name": call.name, "toolUseId": id(call)}});
        let body = json!({"contentBlockIndex": self.index, "start": start});
        self.push("contentBlockStart", body, tokens::count(&call.name), PartRole::Frame);
        for piece in stream::fragments(&call.arguments) {
            let generated = tokens::count(&piece);
            self.delta(&json!({"toolUse": {"input": piece}}), generated, PartRole::Content);
        }
        self.stop();
    }

    fn push(&mut self, name: &'static str, mut body: Value, tokens: u64, role: PartRole) {
        let tokens = tokens.min(self.left);
        self.left -= tokens;
        let length = 1 + self.events.len() * 7 % (PADDING.len() - 1);
        put(&mut body, "p", PADDING.get(..length).unwrap_or_default());
        self.events.push(Event { name: Some(name), data: body.to_string(), tokens, role });
    }
}

//! The streamed chat response: chunks in the provider's order, with the script's faults applied, serialised
//! to bytes.

use serde_json::{Value, json};

use super::answer::{Call, Choice, Reply, logprobs, visible_thought};
use super::flavour::Flavour;
use super::request::ChatRequest;
use super::usage::usage;
use super::{perf, tokens};
use crate::emulator::frames::{self, Event};
use crate::emulator::{Behaviour, Part, PartRole, ToolMode, UsageMode};
use crate::members::put;
use crate::{azure, mistral, together};

/// Tool arguments are streamed in fragments of this many tokens; padded ones in larger fragments.
const FRAGMENT_TOKENS: usize = 1;
const PADDED_FRAGMENT_BYTES: usize = 64 * 1024;

/// Builds chunks that share a response's id, creation time and model.
struct Chunks<'a> {
    reply: &'a Reply,
    request: &'a ChatRequest,
    mode: UsageMode,
    events: Vec<Event>,
    sent_tokens: u64,
}

/// The complete response as byte parts, each with its place and its token count.
pub(crate) fn parts(reply: &Reply, request: &ChatRequest, behaviour: &Behaviour) -> Vec<Part> {
    let mode = match (reply.flavour, behaviour.usage) {
        // These vendors report usage with the finish reason, without being asked to.
        (Flavour::Fireworks | Flavour::Mistral | Flavour::Together, UsageMode::Normal) => UsageMode::Joined,
        (Flavour::Server(server), UsageMode::Normal) => server.usage(),
        (_, mode) => mode,
    };
    let mut chunks = Chunks { reply, request, mode, events: Vec::new(), sent_tokens: 0 };
    chunks.all(behaviour.tools == Some(ToolMode::Interleaved));
    let mut events = chunks.events;
    if behaviour.no_done {
        events.pop();
    }
    if behaviour.doubled_done {
        events.push(Event { name: None, data: "[DONE]".to_owned(), tokens: 0, role: PartRole::Done });
    }
    match reply.flavour {
        Flavour::Server(server) => server.spread(&mut events),
        Flavour::Azure => azure::spread(&mut events),
        Flavour::Mistral => mistral::spread(&mut events),
        Flavour::Together => together::spread(&mut events),
        Flavour::OpenAi | Flavour::Xai | Flavour::Fireworks => {}
    }
    frames::parts(events, behaviour, || error_event(behaviour))
}

impl Chunks<'_> {
    fn all(&mut self, interleaved: bool) {
        for index in 0..self.reply.choices.len() {
            let mut delta = json!({"role": "assistant", "content": "", "refusal": null});
            let calling = self.reply.choices.get(index).is_some_and(|choice| !choice.calls.is_empty());
            if calling {
                put(&mut delta, "content", Value::Null);
            }
            let hidden = if index == 0 { self.reply.reasoning_tokens } else { 0 };
            let visible = visible_thought(self.reply);
            let tokens = if visible.is_some() { 0 } else { hidden };
            self.chunk(index, &delta, &Value::Null, None, tokens, PartRole::Role);
            if let Some(thought) = visible {
                let delta = json!({"reasoning_content": thought});
                self.chunk(index, &delta, &Value::Null, None, hidden, PartRole::Content);
            }
        }
        self.text();
        for (index, choice) in self.reply.choices.iter().enumerate() {
            if interleaved {
                self.interleave(index, choice);
            } else {
                choice.calls.iter().enumerate().for_each(|(at, call)| self.call(index, at, call));
            }
        }
        for (index, choice) in self.reply.choices.iter().enumerate() {
            let last = index + 1 == self.reply.choices.len();
            let left = if last { u64::MAX } else { 0 };
            self.chunk(index, &json!({}), &Value::Null, Some(&choice.finish), left, PartRole::Finish);
        }
        self.usage();
        self.events.push(Event { name: None, data: "[DONE]".to_owned(), tokens: 0, role: PartRole::Done });
    }

    /// The choices alternate, piece by piece.
    fn text(&mut self) {
        let longest = self.reply.choices.iter().map(|choice| choice.pieces.len()).max().unwrap_or(0);
        for turn in 0..longest {
            for (index, choice) in self.reply.choices.iter().enumerate() {
                let Some(piece) = choice.pieces.get(turn) else { continue };
                let field = if choice.refusal { "refusal" } else { "content" };
                let logprobs = logprobs(piece, self.reply.logprobs, choice.refusal);
                self.chunk(
                    index,
                    &json!({field: piece}),
                    &logprobs,
                    None,
                    tokens::count(piece),
                    PartRole::Content,
                );
            }
        }
    }

    fn call(&mut self, index: usize, at: usize, call: &Call) {
        let sends_whole = match self.reply.flavour {
            Flavour::Xai | Flavour::Mistral => true,
            Flavour::Server(server) => server.sends_whole_calls(),
            Flavour::OpenAi | Flavour::Azure | Flavour::Fireworks | Flavour::Together => false,
        };
        if sends_whole {
            self.call_whole(index, at, call);
            return;
        }
        self.call_start(index, at, call);
        for fragment in fragments(&call.arguments) {
            self.call_fragment(index, at, call, &fragment);
        }
    }

    fn interleave(&mut self, index: usize, choice: &Choice) {
        let fragments: Vec<Vec<String>> =
            choice.calls.iter().map(|call| fragments(&call.arguments)).collect();
        for (at, call) in choice.calls.iter().enumerate() {
            self.call_start(index, at, call);
        }
        let longest = fragments.iter().map(Vec::len).max().unwrap_or(0);
        for turn in 0..longest {
            for (at, (call, fragments)) in choice.calls.iter().zip(&fragments).enumerate() {
                if let Some(fragment) = fragments.get(turn) {
                    self.call_fragment(index, at, call, fragment);
                }
            }
        }
    }

    /// xAI sends a tool call in one piece.
    fn call_whole(&mut self, index: usize, at: usize, call: &Call) {
        let (kind, field) = call.kind();
        let delta = json!({"tool_calls": [
            {"index": at, "id": call.id, "type": kind, kind: {"name": call.name, field: call.arguments}}
        ]});
        let tokens = tokens::count(&call.name) + tokens::count(&call.arguments);
        self.chunk(index, &delta, &Value::Null, None, tokens, PartRole::Content);
    }

    fn call_start(&mut self, index: usize, at: usize, call: &Call) {
        let (kind, field) = call.kind();
        let delta = json!({"tool_calls": [
            {"index": at, "id": call.id, "type": kind, kind: {"name": call.name, field: ""}}
        ]});
        self.chunk(index, &delta, &Value::Null, None, tokens::count(&call.name), PartRole::Content);
    }

    fn call_fragment(&mut self, index: usize, at: usize, call: &Call, fragment: &str) {
        let (kind, field) = call.kind();
        let delta = json!({"tool_calls": [{"index": at, kind: {field: fragment}}]});
        self.chunk(index, &delta, &Value::Null, None, tokens::count(fragment), PartRole::Content);
    }

    /// Adds one chunk; the finish chunk takes the tokens that a script counts beyond those generated.
    fn chunk(
        &mut self,
        index: usize,
        delta: &Value,
        logprobs: &Value,
        finish: Option<&str>,
        tokens: u64,
        role: PartRole,
    ) {
        let tokens = tokens.min(self.reply.completion_tokens.saturating_sub(self.sent_tokens));
        self.sent_tokens += tokens;
        let choice = json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish});
        let last = role == PartRole::Finish && index + 1 == self.reply.choices.len();
        let usage = match self.mode {
            UsageMode::Every => usage(self.reply, self.mode, self.sent_tokens),
            UsageMode::Joined if last => usage(self.reply, self.mode, self.sent_tokens),
            _ => Value::Null,
        };
        let mut chunk = self.head(&json!([choice]), usage);
        if last && self.request.perf_metrics {
            perf::write(&mut chunk, self.reply);
        }
        if self.request.include_obfuscation && role == PartRole::Content {
            put(&mut chunk, "obfuscation", "x".repeat(self.events.len() % 7 + 1));
        }
        self.events.push(Event { name: None, data: chunk.to_string(), tokens, role });
    }

    fn usage(&mut self) {
        let own_chunk = match self.mode {
            UsageMode::Normal | UsageMode::Zero => self.request.include_usage,
            UsageMode::Unasked => true,
            UsageMode::Missing | UsageMode::Joined | UsageMode::Every => false,
        };
        if own_chunk {
            let usage = usage(self.reply, self.mode, self.reply.completion_tokens);
            let chunk = self.head(&json!([]), usage);
            self.events.push(Event { name: None, data: chunk.to_string(), tokens: 0, role: PartRole::Usage });
        }
    }

    /// Every chunk has a `usage` key if usage was requested, and none has it otherwise.
    fn head(&self, choices: &Value, usage: Value) -> Value {
        let mut chunk = json!({
            "id": self.reply.id, "object": "chat.completion.chunk", "created": self.reply.created,
            "model": self.reply.model, "service_tier": self.reply.service_tier,
            "system_fingerprint": "fp_emulator", "choices": choices,
        });
        if self.request.include_usage || !usage.is_null() {
            put(&mut chunk, "usage", usage);
        }
        chunk
    }
}

pub(crate) fn fragments(arguments: &str) -> Vec<String> {
    let tokens: Vec<&str> = tokens::split(arguments).collect();
    let size = if arguments.len() > PADDED_FRAGMENT_BYTES {
        PADDED_FRAGMENT_BYTES / tokens::TOKEN_BYTES_MAX
    } else {
        FRAGMENT_TOKENS
    };
    tokens.chunks(size).map(<[&str]>::concat).collect()
}

/// The error event of a stream that breaks off.
pub(crate) fn error_event(behaviour: &Behaviour) -> Event {
    let message = error_message(behaviour);
    let body =
        json!({"error": {"message": message, "type": "server_error", "param": null, "code": behaviour.code}});
    Event { name: None, data: body.to_string(), tokens: 0, role: PartRole::Error }
}

pub(crate) fn error_message(behaviour: &Behaviour) -> &str {
    behaviour.message.as_deref().unwrap_or("The server had an error while processing your request.")
}

//! The streamed form of an answer: chunks in the provider's order, then the script's damage, then bytes.

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Call, Choice, Reply, logprobs, usage};
use super::request::ChatRequest;
use super::tokens;
use crate::emulator::{At, Behaviour, LineEnd, Part, Place, ToolMode, UsageMode};

/// Tool arguments travel in fragments of this many tokens; padded ones in larger steps.
const FRAGMENT_TOKENS: usize = 1;
const PADDED_FRAGMENT_BYTES: usize = 64 * 1024;

/// One event before it is written out.
struct Event {
    data: String,
    tokens: u64,
    place: Place,
}

/// Builds chunks that share an answer's id, time and model.
struct Chunks<'a> {
    reply: &'a Reply,
    request: &'a ChatRequest,
    mode: UsageMode,
    events: Vec<Event>,
    said: u64,
}

/// All events of the answer as bytes, each with its place and the tokens it carries.
pub(crate) fn parts(reply: &Reply, request: &ChatRequest, behaviour: &Behaviour) -> Vec<Part> {
    let mut chunks = Chunks { reply, request, mode: behaviour.usage, events: Vec::new(), said: 0 };
    chunks.all(behaviour.tools == Some(ToolMode::Interleaved));
    let mut events = chunks.events;
    if behaviour.no_done {
        events.pop();
    }
    if behaviour.doubled_done {
        events.push(Event { data: "[DONE]".to_owned(), tokens: 0, place: Place::Done });
    }
    damage(&mut events, behaviour);
    let last = events.len().saturating_sub(1);
    events
        .into_iter()
        .enumerate()
        .map(|(at, event)| Part {
            bytes: written(&event.data, at, at == last, behaviour),
            tokens: event.tokens,
            place: event.place,
        })
        .collect()
}

/// The event index a place stands for.
pub(crate) fn index(places: &[Place], at: At) -> usize {
    let first = |wanted: Place| places.iter().position(|place| *place == wanted);
    let end = places.len();
    let found = match at {
        At::Event(event) => Some(event.min(end)),
        At::Middle => {
            let count = places.iter().filter(|place| **place == Place::Content).count();
            first(Place::Content).map(|start| start + count / 2)
        }
        At::Finish => first(Place::Finish),
        At::Usage => first(Place::Usage).or_else(|| first(Place::Done)),
        At::Done => first(Place::Done),
    };
    found.unwrap_or(end)
}

impl Chunks<'_> {
    fn all(&mut self, interleaved: bool) {
        for index in 0..self.reply.choices.len() {
            let mut delta = json!({"role": "assistant", "content": "", "refusal": null});
            let calling = self.reply.choices.get(index).is_some_and(|choice| !choice.calls.is_empty());
            if let (true, Some(fields)) = (calling, delta.as_object_mut()) {
                fields.insert("content".to_owned(), Value::Null);
            }
            let thought = if index == 0 { self.reply.reasoning_tokens } else { 0 };
            self.chunk(index, &delta, &Value::Null, None, thought, Place::Role);
        }
        self.text();
        for (index, choice) in self.reply.choices.iter().enumerate() {
            if interleaved {
                self.interleaved(index, choice);
            } else {
                choice.calls.iter().enumerate().for_each(|(at, call)| self.call(index, at, call));
            }
        }
        for (index, choice) in self.reply.choices.iter().enumerate() {
            let last = index + 1 == self.reply.choices.len();
            let left = if last { u64::MAX } else { 0 };
            self.chunk(index, &json!({}), &Value::Null, Some(&choice.finish), left, Place::Finish);
        }
        self.usage();
        self.events.push(Event { data: "[DONE]".to_owned(), tokens: 0, place: Place::Done });
    }

    /// The choices take turns, piece by piece.
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
                    Place::Content,
                );
            }
        }
    }

    fn call(&mut self, index: usize, at: usize, call: &Call) {
        self.call_start(index, at, call);
        for fragment in fragments(&call.arguments) {
            self.call_fragment(index, at, call, &fragment);
        }
    }

    fn interleaved(&mut self, index: usize, choice: &Choice) {
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

    fn call_start(&mut self, index: usize, at: usize, call: &Call) {
        let (kind, field) = call.kind();
        let delta = json!({"tool_calls": [
            {"index": at, "id": call.id, "type": kind, kind: {"name": call.name, field: ""}}
        ]});
        self.chunk(index, &delta, &Value::Null, None, tokens::count(&call.name), Place::Content);
    }

    fn call_fragment(&mut self, index: usize, at: usize, call: &Call, fragment: &str) {
        let (kind, field) = call.kind();
        let delta = json!({"tool_calls": [{"index": at, kind: {field: fragment}}]});
        self.chunk(index, &delta, &Value::Null, None, tokens::count(fragment), Place::Content);
    }

    /// Adds one chunk; the finish chunk takes the tokens that a script counted beyond what was said.
    fn chunk(
        &mut self,
        index: usize,
        delta: &Value,
        logprobs: &Value,
        finish: Option<&str>,
        tokens: u64,
        place: Place,
    ) {
        let tokens = tokens.min(self.reply.completion_tokens.saturating_sub(self.said));
        self.said += tokens;
        let choice = json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish});
        let last = place == Place::Finish && index + 1 == self.reply.choices.len();
        let usage = match self.mode {
            UsageMode::Every => usage(self.reply, self.mode, self.said),
            UsageMode::Joined if last => usage(self.reply, self.mode, self.said),
            _ => Value::Null,
        };
        let mut chunk = self.head(&json!([choice]), usage);
        if let (true, Place::Content, Some(fields)) =
            (self.request.include_obfuscation, place, chunk.as_object_mut())
        {
            fields.insert("obfuscation".to_owned(), Value::from("x".repeat(self.events.len() % 7 + 1)));
        }
        self.events.push(Event { data: chunk.to_string(), tokens, place });
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
            self.events.push(Event { data: chunk.to_string(), tokens: 0, place: Place::Usage });
        }
    }

    /// `usage` is a key of every chunk once usage was asked for, and of none otherwise.
    fn head(&self, choices: &Value, usage: Value) -> Value {
        let mut chunk = json!({
            "id": self.reply.id,
            "object": "chat.completion.chunk",
            "created": self.reply.created,
            "model": self.reply.model,
            "service_tier": self.reply.service_tier,
            "system_fingerprint": "fp_emulator",
            "choices": choices,
        });
        let shown = self.request.include_usage || !usage.is_null();
        if let (true, Some(fields)) = (shown, chunk.as_object_mut()) {
            fields.insert("usage".to_owned(), usage);
        }
        chunk
    }
}

fn fragments(arguments: &str) -> Vec<String> {
    let tokens: Vec<&str> = tokens::split(arguments).collect();
    let size = if arguments.len() > PADDED_FRAGMENT_BYTES {
        PADDED_FRAGMENT_BYTES / tokens::TOKEN_BYTES_MAX
    } else {
        FRAGMENT_TOKENS
    };
    tokens.chunks(size).map(<[&str]>::concat).collect()
}

fn damage(events: &mut Vec<Event>, behaviour: &Behaviour) {
    let at = |events: &[Event], at: At| {
        let places: Vec<Place> = events.iter().map(|event| event.place).collect();
        index(&places, at)
    };
    if let Some(event) = behaviour.malformed.map(|place| at(events, place)).and_then(|at| events.get_mut(at))
    {
        let half = event.data.floor_char_boundary(event.data.len() / 2);
        event.data.truncate(half);
    }
    if let Some(place) = behaviour.joined_line {
        let at = at(events, place);
        if at + 1 < events.len() {
            let next = events.remove(at + 1);
            if let Some(event) = events.get_mut(at) {
                event.data.push_str(&next.data);
                event.tokens += next.tokens;
            }
        }
    }
    if let Some(place) = behaviour.error_event {
        events.truncate(at(events, place));
        events.push(Event { data: error_event(behaviour), tokens: 0, place: Place::Error });
    }
}

fn error_event(behaviour: &Behaviour) -> String {
    let message =
        behaviour.message.as_deref().unwrap_or("The server had an error while processing your request.");
    json!({"error": {"message": message, "type": "server_error", "param": null, "code": behaviour.code}})
        .to_string()
}

fn written(data: &str, at: usize, last: bool, behaviour: &Behaviour) -> Bytes {
    let end = match behaviour.line_end {
        LineEnd::Lf => "\n",
        LineEnd::Crlf => "\r\n",
        LineEnd::Cr => "\r",
    };
    let field = if behaviour.no_space { "data:" } else { "data: " };
    let mut text = String::with_capacity(data.len() + 16);
    if at == 0 && behaviour.bom {
        text.push('\u{feff}');
    }
    if behaviour.comments {
        text.push_str(&format!(": ping {at}{end}{end}"));
    }
    if behaviour.extra_lines {
        text.push_str(&format!("event: message{end}id: {at}{end}retry: 1000{end}"));
    }
    // A line break is harmless after the opening brace, where white space means nothing.
    match data.strip_prefix('{').filter(|_| behaviour.multiline) {
        Some(rest) => text.push_str(&format!("{field}{{{end}{field}{rest}{end}")),
        None => text.push_str(&format!("{field}{data}{end}")),
    }
    if !(last && behaviour.unterminated) {
        text.push_str(end);
    }
    Bytes::from(text)
}

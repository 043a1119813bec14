//! A Responses response as events: every item and part is added, streamed and finished, and all events are
//! numbered.

use serde_json::{Map, Value, json};

use super::answer::{End, Item, ItemContent, Response, part, probabilities, summary_part};
use crate::emulator::frames::{self, Event};
use crate::emulator::{Behaviour, Part, PartRole, ToolMode};
use crate::members::put;
use crate::openai::answer::Call;
use crate::openai::stream::{error_message, fragments};
use crate::openai::tokens;

struct Events<'a> {
    response: &'a Response,
    obfuscated: bool,
    list: Vec<Event>,
    sent_tokens: u64,
    output: Vec<Value>,
}

/// The complete response as byte parts, each with its place and its token count.
pub(crate) fn parts(response: &Response, obfuscated: bool, behaviour: &Behaviour) -> Vec<Part> {
    let mut events = Events { response, obfuscated, list: Vec::new(), sent_tokens: 0, output: Vec::new() };
    events.all(behaviour);
    let list = events.list;
    let roles: Vec<PartRole> = list.iter().map(|event| event.role).collect();
    let broken_at = behaviour.error_event.map_or(0, |at| frames::index(&roles, at));
    frames::parts(list, behaviour, || error_event(broken_at, behaviour))
}

/// OpenAI sends the details inside `error`; its documentation of the event has them flat.
fn error_event(number: usize, behaviour: &Behaviour) -> Event {
    let code = behaviour.code.as_deref().unwrap_or("server_error");
    let message = error_message(behaviour);
    let body = if behaviour.flat_error {
        json!({"type": "error", "code": code, "message": message, "param": null, "sequence_number": number})
    } else {
        let error = json!({"type": "server_error", "code": code, "message": message, "param": null});
        json!({"type": "error", "error": error, "sequence_number": number})
    };
    Event { name: Some("error"), data: body.to_string(), tokens: 0, role: PartRole::Error }
}

impl Events<'_> {
    fn all(&mut self, behaviour: &Behaviour) {
        self.lifecycle("response.created", if self.response.background { "queued" } else { "in_progress" });
        if self.response.background {
            self.lifecycle("response.queued", "queued");
        }
        self.lifecycle("response.in_progress", "in_progress");
        let interleaved = behaviour.tools == Some(ToolMode::Interleaved);
        let items = &self.response.items;
        let calls: Vec<(usize, &Item, &Call)> = items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| match &item.content {
                ItemContent::Call(call) => Some((at, item, call)),
                _ => None,
            })
            .collect();
        for (at, item) in items.iter().enumerate() {
            match &item.content {
                ItemContent::Reasoning { tokens, summary, .. } => {
                    self.reasoning(at, item, *tokens, summary.as_deref());
                }
                ItemContent::Message { pieces, refusal, logprobs } => {
                    self.message(at, item, pieces, *refusal, *logprobs);
                }
                ItemContent::Call(call) if !interleaved => self.calls(&[(at, item, call)]),
                ItemContent::Call(_) => {}
            }
        }
        if interleaved {
            self.calls(&calls);
        }
        self.end(behaviour);
    }

    /// The last event; a failure occurs where the script puts it and lists the items finished by then.
    fn end(&mut self, behaviour: &Behaviour) {
        let name = match self.response.end {
            End::Completed => "response.completed",
            End::Incomplete(_) => "response.incomplete",
            End::Failed { .. } => "response.failed",
        };
        if let Some(at) = behaviour.failed {
            let roles: Vec<PartRole> = self.list.iter().map(|event| event.role).collect();
            self.list.truncate(frames::index(&roles, at));
            let finished = |event: &&Event| event.name == Some("response.output_item.done");
            let finished = self.list.iter().filter(finished).count();
            self.output.truncate(finished);
        }
        let left = self.response.reply.completion_tokens.saturating_sub(self.sent_tokens);
        let left = if behaviour.failed.is_some() { 0 } else { left };
        let object = self.response.ended(&self.output);
        self.push(name, json!({"response": object}), left, PartRole::Finish);
    }

    fn lifecycle(&mut self, name: &'static str, status: &str) {
        let object = self.response.open(status);
        self.push(name, json!({"response": object}), 0, PartRole::Role);
    }

    fn reasoning(&mut self, at: usize, item: &Item, tokens: u64, summary: Option<&str>) {
        self.add(at, item);
        let position = || json!({"item_id": item.id, "output_index": at, "summary_index": 0});
        if let Some(text) = summary {
            self.frame("response.reasoning_summary_part.added", with(position(), "part", summary_part("")));
            for piece in fragments(text) {
                self.delta("response.reasoning_summary_text.delta", position(), &piece, 0);
            }
            self.frame("response.reasoning_summary_text.done", with(position(), "text", Value::from(text)));
            self.frame("response.reasoning_summary_part.done", with(position(), "part", summary_part(text)));
        }
        self.done(at, item, tokens);
    }

    fn message(&mut self, at: usize, item: &Item, pieces: &[String], refusal: bool, has_logprobs: bool) {
        self.add(at, item);
        let position = || json!({"item_id": item.id, "output_index": at, "content_index": 0});
        let text = pieces.concat();
        self.frame("response.content_part.added", with(position(), "part", part("", refusal, false)));
        for piece in pieces {
            let tokens = tokens::count(piece);
            if refusal {
                self.delta("response.refusal.delta", position(), piece, tokens);
            } else {
                let position = with(position(), "logprobs", probabilities(piece, has_logprobs));
                self.delta("response.output_text.delta", position, piece, tokens);
            }
        }
        if refusal {
            self.frame("response.refusal.done", with(position(), "refusal", Value::from(text.as_str())));
        } else {
            let position = with(position(), "logprobs", probabilities(&text, has_logprobs));
            self.frame("response.output_text.done", with(position, "text", Value::from(text.as_str())));
        }
        self.frame(
            "response.content_part.done",
            with(position(), "part", part(&text, refusal, has_logprobs)),
        );
        self.done(at, item, 0);
    }

    /// Parallel calls, whose fragments alternate; a single one is streamed in one run.
    fn calls(&mut self, calls: &[(usize, &Item, &Call)]) {
        let all: Vec<Vec<String>> = calls.iter().map(|(_, _, call)| fragments(&call.arguments)).collect();
        for (at, item, call) in calls {
            self.add(*at, item);
            self.add_to_last(tokens::count(&call.name));
        }
        let longest = all.iter().map(Vec::len).max().unwrap_or(0);
        for turn in 0..longest {
            for ((at, item, call), fragments) in calls.iter().zip(&all) {
                let Some(fragment) = fragments.get(turn) else { continue };
                let position = json!({"item_id": item.id, "output_index": at});
                self.delta(call_event(call, false), position, fragment, tokens::count(fragment));
            }
        }
        for (at, item, call) in calls {
            let (_, field) = call.kind();
            let mut position = json!({"item_id": item.id, "output_index": at, field: call.arguments});
            if !call.custom {
                position = with(position, "name", Value::from(call.name.as_str()));
            }
            self.frame(call_event(call, true), position);
            self.done(*at, item, 0);
        }
    }

    fn add(&mut self, at: usize, item: &Item) {
        let initial = item.initial();
        self.frame("response.output_item.added", json!({"output_index": at, "item": initial}));
    }

    fn done(&mut self, at: usize, item: &Item, tokens: u64) {
        let last = at + 1 == self.response.items.len();
        let value = item.value(if last { self.response.last_status() } else { "completed" });
        self.output.push(value.clone());
        self.push(
            "response.output_item.done",
            json!({"output_index": at, "item": value}),
            tokens,
            PartRole::Frame,
        );
    }

    fn frame(&mut self, name: &'static str, fields: Value) {
        self.push(name, fields, 0, PartRole::Frame);
    }

    fn delta(&mut self, name: &'static str, position: Value, delta: &str, tokens: u64) {
        let mut fields = with(position, "delta", Value::from(delta));
        if self.obfuscated {
            fields = with(fields, "obfuscation", Value::from("x".repeat(self.list.len() % 7 + 1)));
        }
        self.push(name, fields, tokens, PartRole::Content);
    }

    /// Attributes tokens to the event that was added last.
    fn add_to_last(&mut self, tokens: u64) {
        let tokens = self.cap(tokens);
        if let Some(event) = self.list.last_mut() {
            event.tokens += tokens;
        }
    }

    /// Caps the count at what the script allows.
    fn cap(&mut self, tokens: u64) -> u64 {
        let tokens = tokens.min(self.response.reply.completion_tokens.saturating_sub(self.sent_tokens));
        self.sent_tokens += tokens;
        tokens
    }

    fn push(&mut self, name: &'static str, fields: Value, tokens: u64, role: PartRole) {
        let tokens = self.cap(tokens);
        let mut event = Map::new();
        event.insert("type".to_owned(), Value::from(name));
        event.insert("sequence_number".to_owned(), Value::from(self.list.len()));
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.list.push(Event { name: Some(name), data: Value::Object(event).to_string(), tokens, role });
    }
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    put(&mut object, name, value);
    object
}

fn call_event(call: &Call, done: bool) -> &'static str {
    match (call.custom, done) {
        (false, false) => "response.function_call_arguments.delta",
        (false, true) => "response.function_call_arguments.done",
        (true, false) => "response.custom_tool_call_input.delta",
        (true, true) => "response.custom_tool_call_input.done",
    }
}

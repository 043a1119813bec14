//! A completion request as each server reads it, and its answer.

use serde_json::{Map, Value, json};

use super::json_reply;
use super::surface::{Native, Surface};
use crate::loopback::Reply;

/// The answer, and its length.
const ANSWER: &str = "Served by a server of others.";
pub(super) const ANSWER_TOKENS: u64 = 6;
/// Tokens of an answer that a running request may have at most, where it sets no limit.
const ANSWER_TOKENS_MAX: u64 = 64;
const BYTES_PER_TOKEN: usize = 4;
const CHAT: &str = "/v1/chat/completions";

/// Fields of a chat request that all of these servers know, and the type that each has to have.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("model", "string"), ("messages", "array"), ("frequency_penalty", "number"), ("logit_bias", "object"),
    ("logprobs", "boolean"), ("max_completion_tokens", "integer"), ("max_tokens", "integer"),
    ("n", "integer"), ("presence_penalty", "number"), ("response_format", "object"), ("seed", "integer"),
    ("stop", ""), ("stream", "boolean"), ("stream_options", "object"), ("temperature", "number"),
    ("tool_choice", ""), ("tools", "array"), ("top_logprobs", "integer"), ("top_p", "number"),
    ("user", "string"),
];

/// Why a request was not served.
pub(super) struct Refused {
    pub status: u16,
    pub kind: &'static str,
    pub message: String,
    pub field: Option<String>,
}

/// An accepted request.
pub(super) struct Completion {
    prompt_tokens: u64,
    /// Whether it is streamed, and with usage.
    streams: Option<bool>,
    native: Option<&'static Native>,
}

impl Completion {
    pub(super) fn read(
        surface: &'static Surface,
        model: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Self, Refused> {
        let fields: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|error| surface.invalid(format!("The body is not a JSON object: {error}"), None))?;
        match surface.native.as_ref().filter(|_| path != CHAT) {
            Some(native) => Self::native(surface, native, &fields),
            None => Self::chat(surface, model, &fields),
        }
    }

    fn native(
        surface: &Surface,
        native: &'static Native,
        fields: &Map<String, Value>,
    ) -> Result<Self, Refused> {
        let Some(prompt) = fields.get(native.prompt).and_then(Value::as_str) else {
            return Err(surface.missing(native.prompt));
        };
        Ok(Self { prompt_tokens: tokens(prompt.len()), streams: None, native: Some(native) })
    }

    fn chat(surface: &Surface, model: &str, fields: &Map<String, Value>) -> Result<Self, Refused> {
        for (name, value) in fields {
            match FIELDS.iter().find(|(known, _)| known == name) {
                Some((_, kind)) if !is_of(kind, value) => {
                    return Err(surface.invalid(format!("{name} should be of the type {kind}"), Some(name)));
                }
                None if surface.refuses_unknown => {
                    return Err(surface.invalid("Extra inputs are not permitted".to_owned(), Some(name)));
                }
                _ => {}
            }
        }
        let Some(messages) = fields.get("messages").and_then(Value::as_array) else {
            return Err(surface.missing("messages"));
        };
        let named = fields.get("model").and_then(Value::as_str).unwrap_or_default();
        if let Some(status) = surface.checks_model
            && named != model
        {
            let message = format!("The model `{named}` does not exist.");
            return Err(Refused { status, kind: "not_found", message, field: Some("model".to_owned()) });
        }
        let streams = fields.get("stream").and_then(Value::as_bool).unwrap_or(false);
        let options = fields.get("stream_options");
        let with_usage = options.is_some_and(|options| options["include_usage"] == true);
        let length = messages.iter().map(|message| message["content"].to_string().len()).sum();
        Ok(Self { prompt_tokens: tokens(length), streams: streams.then_some(with_usage), native: None })
    }

    pub(super) fn held_tokens(&self) -> u64 {
        self.prompt_tokens + ANSWER_TOKENS_MAX
    }

    pub(super) fn answer(&self, surface: &Surface, model: &str) -> Reply {
        if let Some(native) = self.native {
            let mut answer = json!({});
            answer[native.answer] = ANSWER.into();
            return json_reply(200, &answer);
        }
        let usage = json!({
            "prompt_tokens": self.prompt_tokens, "completion_tokens": ANSWER_TOKENS,
            "total_tokens": self.prompt_tokens + ANSWER_TOKENS,
        });
        let of = |object: &str, choices: Value| json!({"id": format!("chatcmpl-{}", surface.slug()), "object": object, "created": 1, "model": model, "choices": choices});
        let Some(with_usage) = self.streams else {
            let message = json!({"role": "assistant", "content": ANSWER});
            let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
            let mut whole = of("chat.completion", json!([choice]));
            whole["usage"] = usage;
            return json_reply(200, &whole);
        };
        let chunk = |delta: Value, finish: Value| {
            of("chat.completion.chunk", json!([{"index": 0, "delta": delta, "finish_reason": finish}]))
        };
        let mut events = vec![
            chunk(json!({"role": "assistant", "content": ""}), Value::Null),
            chunk(json!({"content": ANSWER}), Value::Null),
            chunk(json!({}), "stop".into()),
        ];
        if with_usage {
            let mut last = of("chat.completion.chunk", json!([]));
            last["usage"] = usage;
            events.push(last);
        }
        let mut text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        text.push_str("data: [DONE]\n\n");
        Reply::of(200, text).with("content-type", "text/event-stream")
    }
}

fn tokens(bytes: usize) -> u64 {
    (bytes / BYTES_PER_TOKEN) as u64 + 1
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        _ if value.is_null() => true,
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

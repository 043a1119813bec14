//! Mistral's variant of OpenAI's API: an unknown field is a 422, tool call ids have nine letters and digits,
//! and reasoning is a part of the message content.

use serde_json::{Map, Value, json};

use crate::emulator::PartRole;
use crate::emulator::frames::Event;
use crate::openai::answer::Reply;
use crate::openai::checks::{Shape, Shape::*};
use crate::openai::error::ApiError;

const CALL_ID_LETTERS: usize = 9;

/// Every field of Mistral's own client (mistralai 3.7.0).
#[rustfmt::skip]
pub(crate) const CHAT: &[(&str, Shape)] = &[
    ("messages", List), ("model", Text), ("frequency_penalty", Decimal(-2.0, 2.0)), ("guardrails", List),
    ("logprobs", Flag), ("max_tokens", Integer(0, i64::MAX)), ("metadata", Object),
    ("min_tokens", Integer(0, i64::MAX)), ("n", Integer(1, 128)), ("parallel_tool_calls", Flag),
    ("prediction", Object), ("presence_penalty", Decimal(-2.0, 2.0)), ("prompt_cache_key", Text),
    ("prompt_logprobs", Flag), ("prompt_mode", OneOf(&["reasoning"])), ("random_seed", Integer(0, i64::MAX)),
    ("reasoning_effort", OneOf(&["none", "minimal", "low", "medium", "high", "xhigh"])),
    ("repetition_penalty", Decimal(0.0, 2.0)), ("response_format", Object), ("safe_prompt", Flag),
    ("service_tier", OneOf(&["auto", "standard_only"])), ("stop", TextOrList), ("stream", Flag),
    ("temperature", Decimal(0.0, 1.5)), ("tool_choice", TextOrObject), ("tools", List),
    ("top_k", Integer(0, i64::MAX)), ("top_logprobs", Integer(0, 20)), ("top_p", Decimal(0.0, 1.0)),
    ("top_prompt_logprobs", Integer(0, 20)),
];

pub(crate) const EMBEDDINGS: &[(&str, Shape)] = &[
    ("input", TextOrList),
    ("model", Text),
    ("encoding_format", OneOf(&["float", "base64"])),
    ("metadata", Object),
    ("output_dimension", Integer(1, 3072)),
    ("output_dtype", OneOf(&["float", "int8", "uint8", "binary", "ubinary"])),
];

pub(crate) fn serves(model: &str) -> bool {
    ["mistral-", "magistral-"].iter().any(|family| model.starts_with(family))
}

pub(crate) fn unknown_field(name: &str) -> ApiError {
    let error = ApiError::new(422, "extra_forbidden", "Extra inputs are not permitted");
    error.param(name)
}

pub(crate) fn wrong_key() -> ApiError {
    ApiError::new(401, "", "Unauthorized")
}

pub(crate) fn no_such_model(model: &str) -> ApiError {
    ApiError::new(400, "invalid_model", format!("Invalid model: {model}")).code("1500")
}

pub(crate) fn rate_limited() -> ApiError {
    ApiError::new(429, "rate_limited", "Rate limit exceeded").code("1300")
}

/// The body of an error: one word for a rejected key, a list in place of the message for validation errors, a
/// flat object for all others.
pub(crate) fn error_body(error: &ApiError) -> Value {
    let ApiError { message, kind, code, param, .. } = error;
    if kind.is_empty() {
        return json!({"detail": message});
    }
    let kind = *kind;
    let detail = match error.status {
        422 => {
            let location = param.as_deref().unwrap_or_default().split('.').collect::<Vec<_>>();
            let location = [vec!["body"], location].concat();
            json!({"detail": [{"type": kind, "loc": location, "msg": message}]})
        }
        _ => json!(message),
    };
    let kind = if error.status == 422 { "invalid_request_error" } else { kind };
    json!({"object": "error", "message": detail, "type": kind, "param": null, "code": code, "raw_status_code": error.status})
}

/// Rejects what only Mistral rejects in a conversation.
pub(crate) fn check(messages: &[Value]) -> Result<(), ApiError> {
    let mut before = "";
    for (at, message) in messages.iter().filter_map(Value::as_object).enumerate() {
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        let known: &[&str] = match role {
            "assistant" => &["role", "content", "tool_calls", "prefix"],
            "tool" => &["role", "content", "tool_call_id", "name"],
            "system" | "user" => &["role", "content"],
            _ => return Err(unknown_field(&format!("messages.{at}.role"))),
        };
        if let Some(name) = message.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(unknown_field(&format!("messages.{at}.{role}.{name}")));
        }
        if (before, role) == ("tool", "user") {
            let message = "Unexpected role 'user' after role 'tool'";
            return Err(ApiError::new(400, "invalid_request_message_order", message).code("3230"));
        }
        before = role;
        ids(message).try_for_each(call_id)?;
    }
    Ok(())
}

fn ids(message: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    let of_calls = calls.filter_map(|call| call.get("id"));
    of_calls.chain(message.get("tool_call_id")).filter_map(Value::as_str)
}

fn call_id(id: &str) -> Result<(), ApiError> {
    if id.len() == CALL_ID_LETTERS && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    let message =
        format!("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of {CALL_ID_LETTERS}.");
    Err(ApiError::new(400, "invalid_function_call", message).code("3280"))
}

/// Mistral's id for a tool call: nine digits derived from the shared generator's id.
fn own_id(id: &str) -> String {
    let number = id
        .bytes()
        .fold(7_u64, |number, byte| (number.wrapping_mul(31).wrapping_add(u64::from(byte))) % 1_000_000_000);
    format!("{number:0CALL_ID_LETTERS$}")
}

/// Applies Mistral's format to a buffered response.
pub(crate) fn change_whole(answer: &mut Value) {
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("service_tier");
        fields.remove("system_fingerprint");
    }
    change(answer, "message");
}

/// Applies Mistral's format to a stream.
pub(crate) fn spread(events: &mut [Event]) {
    for event in events.iter_mut().filter(|event| event.role != PartRole::Done) {
        if let Ok(mut chunk) = serde_json::from_str::<Value>(&event.data) {
            if let Some(fields) = chunk.as_object_mut() {
                fields.remove("service_tier");
                fields.remove("system_fingerprint");
            }
            change(&mut chunk, "delta");
            event.data = chunk.to_string();
        }
    }
}

fn change(answer: &mut Value, key: &str) {
    let choices = answer.get_mut("choices").and_then(Value::as_array_mut);
    for choice in choices.into_iter().flatten() {
        let Some(message) = choice.get_mut(key).and_then(Value::as_object_mut) else { continue };
        message.remove("refusal");
        message.remove("annotations");
        think(message);
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
            if let Some(id) = call.get("id").and_then(Value::as_str).map(own_id) {
                call.insert("id".to_owned(), id.into());
            }
        }
    }
}

/// Turns reasoning and text into separate content parts.
fn think(message: &mut Map<String, Value>) {
    let Some(thought) = message.remove("reasoning_content") else { return };
    let mut parts = vec![json!({"type": "thinking", "thinking": [{"type": "text", "text": thought}]})];
    if let Some(Value::String(text)) = message.get("content") {
        parts.push(json!({"type": "text", "text": text}));
    }
    message.insert("content".to_owned(), Value::Array(parts));
}

pub(crate) fn usage(reply: &Reply, report: impl Fn(u64) -> u64, completion_tokens: u64) -> Value {
    json!({
        "prompt_tokens": report(reply.prompt_tokens), "completion_tokens": report(completion_tokens),
        "total_tokens": report(reply.prompt_tokens + completion_tokens),
        "prompt_tokens_details": {"cached_tokens": report(reply.cached_tokens)},
    })
}

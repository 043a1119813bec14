//! The events that a client may send in a realtime session, and their fields.

use serde_json::{Map, Value, json};

/// Each event with its own fields; all of them have `type` and may have `event_id`.
#[rustfmt::skip]
const KNOWN: &[(&str, &[&str])] = &[
    ("session.update", &["session"]), ("input_audio_buffer.append", &["audio"]),
    ("input_audio_buffer.commit", &[]), ("input_audio_buffer.clear", &[]),
    ("conversation.item.create", &["item", "previous_item_id"]), ("conversation.item.retrieve", &["item_id"]),
    ("conversation.item.truncate", &["item_id", "content_index", "audio_end_ms"]),
    ("conversation.item.delete", &["item_id"]), ("response.create", &["response"]),
    ("response.cancel", &["response_id"]), ("output_audio_buffer.clear", &[]),
];
#[rustfmt::skip]
const SESSION: &[&str] = &[
    "type", "model", "instructions", "output_modalities", "audio", "tools", "tool_choice",
    "max_output_tokens", "truncation", "tracing", "prompt", "include",
];
#[rustfmt::skip]
const RESPONSE: &[&str] = &[
    "instructions", "output_modalities", "audio", "tools", "tool_choice", "max_output_tokens", "conversation",
    "metadata", "input", "prompt",
];

/// An invalid event, as its error reports it.
#[derive(Debug)]
pub(super) struct Wrong {
    pub code: &'static str,
    pub message: String,
    pub param: Option<String>,
}

impl Wrong {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None }
    }

    pub(super) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The error event that reports it.
    pub(super) fn event(&self, about: Option<&Value>) -> Value {
        json!({"type": "error", "error": {
            "type": "invalid_request_error", "code": self.code, "message": self.message, "param": self.param,
            "event_id": about,
        }})
    }
}

/// Parses and validates a client's event.
pub(super) fn read(text: &[u8]) -> Result<Map<String, Value>, Wrong> {
    let Ok(Value::Object(event)) = serde_json::from_slice(text) else {
        return Err(Wrong::new("invalid_json", "We could not parse the JSON body of your event."));
    };
    let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
    let Some((_, fields)) = KNOWN.iter().find(|(name, _)| *name == kind) else {
        let message = format!("Invalid value: '{kind}'.");
        return Err(Wrong::new("invalid_value", message).param("type"));
    };
    only(&event, fields, "", &["type", "event_id"])?;
    for (field, known) in [("session", SESSION), ("response", RESPONSE)] {
        if let Some(Value::Object(object)) = event.get(field) {
            only(object, known, field, &[])?;
        }
    }
    Ok(event)
}

fn only(object: &Map<String, Value>, known: &[&str], within: &str, also: &[&str]) -> Result<(), Wrong> {
    match object.keys().find(|name| !known.contains(&name.as_str()) && !also.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let param = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
            Err(Wrong::new("unknown_parameter", format!("Unknown parameter: '{param}'.")).param(param))
        }
    }
}

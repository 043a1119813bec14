//! Together's variant of OpenAI's API: unknown fields are ignored, its model list is a bare array, a natural
//! end has a finish reason of its own, and usage is reported unasked.

use serde_json::{Map, Value, json};

use crate::emulator::frames::Event;
use crate::emulator::{Model, PartRole};
use crate::openai::checks::Shape;

/// Every field of Together's own client (together 3.1.1).
pub(crate) const CHAT: &[(&str, Shape)] = &[
    ("messages", Shape::List),
    ("model", Shape::Text),
    ("chat_template_kwargs", Shape::Object),
    ("compliance", Shape::OneOf(&["hipaa"])),
    ("context_length_exceeded_behavior", Shape::OneOf(&["truncate", "error"])),
    ("echo", Shape::Flag),
    ("frequency_penalty", Shape::Decimal(-2.0, 2.0)),
    ("function_call", Shape::TextOrObject),
    ("logit_bias", Shape::Object),
    ("logprobs", Shape::Integer(0, 20)),
    ("max_tokens", Shape::Integer(0, i64::MAX)),
    ("min_p", Shape::Decimal(0.0, 1.0)),
    ("n", Shape::Integer(1, 128)),
    ("presence_penalty", Shape::Decimal(-2.0, 2.0)),
    ("reasoning", Shape::Object),
    ("reasoning_effort", Shape::OneOf(&["low", "medium", "high"])),
    ("repetition_penalty", Shape::Decimal(0.0, 2.0)),
    ("response_format", Shape::Object),
    ("safety_model", Shape::Text),
    ("seed", Shape::Integer(-i64::MAX, i64::MAX)),
    ("stop", Shape::List),
    ("stream", Shape::Flag),
    ("temperature", Shape::Decimal(0.0, 2.0)),
    ("tool_choice", Shape::TextOrObject),
    ("tools", Shape::List),
    ("top_k", Shape::Integer(-1, i64::MAX)),
    ("top_p", Shape::Decimal(0.0, 1.0)),
    // Tests pass scripts to the emulator in the end-user id.
    ("user", Shape::Text),
];

/// The request without unknown fields.
pub(crate) fn known_fields(fields: &Map<String, Value>) -> Map<String, Value> {
    let is_known = |name: &str| CHAT.iter().any(|(known, _)| *known == name);
    let kept = fields.iter().filter(|(name, _)| is_known(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The model list is a bare array, not an object.
pub(crate) fn list<'a>(models: impl Iterator<Item = &'a Model>, created: u64) -> Value {
    models.map(|model| row(model, created)).collect()
}

fn row(model: &Model, created: u64) -> Value {
    json!({
        "id": model.id, "object": "model", "created": created, "type": "chat", "display_name": model.id,
        "organization": "emulator", "context_length": model.context_tokens_max,
    })
}

/// Applies Together's format to the events of a stream.
pub(crate) fn spread(events: &mut [Event]) {
    for event in events.iter_mut().filter(|event| event.role == PartRole::Finish) {
        if let Ok(mut chunk) = serde_json::from_str::<Value>(&event.data) {
            change_whole(&mut chunk);
            event.data = chunk.to_string();
        }
    }
}

/// A natural end has the finish reason `eos`.
pub(crate) fn change_whole(answer: &mut Value) {
    let choices = answer.get_mut("choices").and_then(Value::as_array_mut);
    for choice in choices.into_iter().flatten().filter_map(Value::as_object_mut) {
        if choice.get("finish_reason") == Some(&"stop".into()) {
            choice.insert("finish_reason".to_owned(), "eos".into());
        }
    }
}

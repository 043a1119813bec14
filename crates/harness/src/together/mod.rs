//! Together's variant of OpenAI's API: unknown fields are ignored, its model list is a bare array, a natural
//! end has a finish reason of its own, and usage is reported unasked.

use serde_json::{Map, Value, json};

use crate::emulator::frames::Event;
use crate::emulator::{Model, PartRole};
use crate::openai::checks::{Shape, Shape::*};

/// Every field of Together's own client (together 3.1.1).
pub(crate) const CHAT: &[(&str, Shape)] = &[
    ("messages", List),
    ("model", Text),
    ("chat_template_kwargs", Object),
    ("compliance", OneOf(&["hipaa"])),
    ("context_length_exceeded_behavior", OneOf(&["truncate", "error"])),
    ("echo", Flag),
    ("frequency_penalty", Decimal(-2.0, 2.0)),
    ("function_call", TextOrObject),
    ("logit_bias", Object),
    ("logprobs", Integer(0, 20)),
    ("max_tokens", Integer(0, i64::MAX)),
    ("min_p", Decimal(0.0, 1.0)),
    ("n", Integer(1, 128)),
    ("presence_penalty", Decimal(-2.0, 2.0)),
    ("reasoning", Object),
    ("reasoning_effort", OneOf(&["low", "medium", "high"])),
    ("repetition_penalty", Decimal(0.0, 2.0)),
    ("response_format", Object),
    ("safety_model", Text),
    ("seed", Integer(-i64::MAX, i64::MAX)),
    ("stop", List),
    ("stream", Flag),
    ("temperature", Decimal(0.0, 2.0)),
    ("tool_choice", TextOrObject),
    ("tools", List),
    ("top_k", Integer(-1, i64::MAX)),
    ("top_p", Decimal(0.0, 1.0)),
    // Tests pass scripts to the emulator in the end-user id.
    ("user", Text),
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

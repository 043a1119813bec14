//! Self-hosted servers with OpenAI-compatible APIs: what each rejects, its error format, and how its
//! responses differ.

use serde_json::{Map, Value, json};

use super::checks;
use super::error::ApiError;
use crate::emulator::frames::Event;
use crate::emulator::{PartRole, UsageMode};

/// A kind of server, by its typical behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Server {
    /// Accepts any field, and deviates as freely in its responses.
    Lenient,
    /// Rejects every unknown field.
    Strict,
    /// Implements an early version of the API.
    Old,
    /// Streams without `stream_options`, and ends without `[DONE]`.
    Bare,
    /// vLLM before it supported `tool_choice: "required"`.
    Vllm,
    /// Ollama: ignores unknown fields, and sends tool calls in one piece.
    Ollama,
}

const STRICT_FIELDS: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "parallel_tool_calls",
    "response_format",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
    // Carries scripts.
    "user",
];
const STRICT_MESSAGE_FIELDS: &[&str] = &["role", "content", "name", "tool_calls", "tool_call_id"];

impl Server {
    pub const ALL: [Self; 6] = [Self::Lenient, Self::Strict, Self::Old, Self::Bare, Self::Vllm, Self::Ollama];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lenient => "lenient",
            Self::Strict => "strict",
            Self::Old => "old",
            Self::Bare => "bare",
            Self::Vllm => "vllm",
            Self::Ollama => "ollama",
        }
    }

    pub(crate) fn base(self) -> &'static str {
        match self {
            Self::Lenient => "/lenient/v1",
            Self::Strict => "/strict/v1",
            Self::Old => "/old/v1",
            Self::Bare => "/bare/v1",
            Self::Vllm => "/vllm/v1",
            Self::Ollama => "/ollama/v1",
        }
    }

    /// Rejects what only this server rejects in a chat request.
    pub(crate) fn check(self, fields: &Map<String, Value>) -> Result<(), ApiError> {
        let messages = fields.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        match self {
            Self::Lenient | Self::Ollama => Ok(()),
            Self::Strict => {
                only(fields, STRICT_FIELDS)?;
                messages
                    .iter()
                    .filter_map(Value::as_object)
                    .try_for_each(|message| only(message, STRICT_MESSAGE_FIELDS))
            }
            Self::Old => {
                refuse(fields, &["max_completion_tokens", "parallel_tool_calls"])?;
                messages.iter().try_for_each(old_message)
            }
            Self::Bare => {
                refuse(fields, &["stream_options"])?;
                match fields.get("response_format").and_then(|format| format.get("type")) {
                    Some(kind) if kind == "json_schema" => {
                        Err(ApiError::bad("response_format is not supported"))
                    }
                    _ => Ok(()),
                }
            }
            Self::Vllm => match fields.get("tool_choice") {
                Some(choice) if choice == "required" => Err(ApiError::bad(
                    "Currently only named tools or \"auto\" are supported for tool_choice, not 'required'",
                )),
                _ => Ok(()),
            },
        }
    }

    /// The known fields: a server ignores those that it neither knows nor rejects.
    pub(crate) fn known_fields(self, fields: &Map<String, Value>) -> Map<String, Value> {
        let is_known = |name: &str| checks::CHAT.iter().any(|(known, _)| *known == name);
        let known = fields.iter().filter(|(name, _)| is_known(name));
        known.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    pub(crate) fn error_body(self, error: &ApiError) -> Value {
        let message = &error.message;
        match self {
            Self::Lenient => json!({"message": message}),
            Self::Strict => {
                json!({"detail": [{"type": "extra_forbidden", "loc": ["body", error.param], "msg": message}]})
            }
            Self::Old => json!({"detail": message}),
            Self::Bare => json!({"error": message}),
            Self::Vllm => {
                json!({"object": "error", "message": message, "type": "BadRequestError", "param": null, "code": error.status})
            }
            Self::Ollama => {
                json!({"error": {"message": message, "type": "api_error", "param": null, "code": null}})
            }
        }
    }

    /// When a stream reports usage.
    pub(crate) fn usage(self) -> UsageMode {
        match self {
            Self::Lenient => UsageMode::Every,
            Self::Strict => UsageMode::Joined,
            Self::Bare => UsageMode::Missing,
            Self::Old | Self::Vllm | Self::Ollama => UsageMode::Normal,
        }
    }

    pub(crate) fn sends_whole_calls(self) -> bool {
        matches!(self, Self::Old | Self::Ollama)
    }

    /// Applies this server's deviations to a stream.
    pub(crate) fn spread(self, events: &mut Vec<Event>) {
        if self == Self::Bare {
            events.retain(|event| event.role != PartRole::Done);
        }
        for event in events.iter_mut().filter(|event| event.role != PartRole::Done) {
            if let Ok(mut chunk) = serde_json::from_str::<Value>(&event.data) {
                self.change(&mut chunk, "delta", event.role == PartRole::Finish);
                event.data = chunk.to_string();
            }
        }
    }

    /// Applies this server's deviations to a buffered response.
    pub(crate) fn change_whole(self, answer: &mut Value) {
        self.change(answer, "message", true);
    }

    fn change(self, answer: &mut Value, key: &str, is_end: bool) {
        let Some(fields) = answer.as_object_mut() else { return };
        if self == Self::Lenient {
            fields.remove("id");
            let created = fields.get("created").and_then(Value::as_u64).unwrap_or_default();
            fields.insert("created".to_owned(), json!(created as f64 + 0.5));
        }
        let choices = fields.get_mut("choices").and_then(Value::as_array_mut);
        for choice in choices.into_iter().flatten().filter_map(Value::as_object_mut) {
            self.change_choice(choice, key, is_end);
        }
    }

    fn change_choice(self, choice: &mut Map<String, Value>, key: &str, is_end: bool) {
        match self {
            Self::Lenient if choice.get("finish_reason") == Some(&"stop".into()) => {
                choice.insert("finish_reason".to_owned(), "eos".into());
            }
            Self::Old => {
                if let Some(message) = choice.get_mut(key) {
                    loosen_calls(message);
                }
                if is_end && key == "delta" {
                    choice.insert(key.to_owned(), Value::Null);
                }
            }
            Self::Bare if key == "delta" => {
                if let Some(message) = choice.remove(key) {
                    choice.insert("message".to_owned(), message);
                }
            }
            Self::Vllm | Self::Ollama => {
                let name = if self == Self::Vllm { "reasoning_content" } else { "reasoning" };
                let message = choice.get_mut(key).and_then(Value::as_object_mut);
                if let Some(message) = message.filter(|message| message.contains_key("role")) {
                    message.insert(name.to_owned(), "Hm.".into());
                }
            }
            _ => {}
        }
    }
}

/// Removes `index` from tool calls and turns their arguments into objects.
fn loosen_calls(message: &mut Value) {
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
        call.remove("index");
        let arguments = call.get_mut("function").and_then(|function| function.get_mut("arguments"));
        if let Some(arguments) = arguments
            && let Some(Ok(object)) = arguments.as_str().map(serde_json::from_str)
        {
            *arguments = object;
        }
    }
}

fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), ApiError> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let error = ApiError::bad("Extra inputs are not permitted").param(name);
            Err(ApiError { status: 422, ..error })
        }
    }
}

fn refuse(fields: &Map<String, Value>, names: &[&str]) -> Result<(), ApiError> {
    match names.iter().find(|name| fields.contains_key(**name)) {
        None => Ok(()),
        Some(name) => Err(ApiError::bad(format!("{name} is not supported"))),
    }
}

fn old_message(message: &Value) -> Result<(), ApiError> {
    if message.get("role").is_some_and(|role| role == "developer") {
        return Err(ApiError::bad("Unexpected role: developer"));
    }
    match message.get("content") {
        Some(Value::String(_)) => Ok(()),
        _ => Err(ApiError::bad("content must be a string")),
    }
}

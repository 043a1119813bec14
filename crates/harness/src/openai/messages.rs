//! OpenAI's conversation checks: roles, fields, parts, and tool calls without a result.

use serde_json::{Map, Value};

use super::checks::only;
use super::error::ApiError;
use super::flavour::{Flavour, Served};

const ROLES: &[&str] = &["system", "assistant", "user", "function", "tool", "developer"];
const ASSISTANT: &[&str] =
    &["role", "content", "name", "refusal", "tool_calls", "audio", "function_call", "annotations"];
const PARTS: &[(&str, &str)] = &[
    ("text", "text"),
    ("image_url", "image_url"),
    ("input_audio", "input_audio"),
    ("file", "file"),
    ("refusal", "refusal"),
];

/// Rejects a conversation that the real provider rejects.
pub(crate) fn check(messages: &[Value], served: Served<'_>) -> Result<(), ApiError> {
    if messages.is_empty() {
        return Err(ApiError::bad(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array \
             instead.",
        )
        .at("messages", "empty_array"));
    }
    for (at, message) in messages.iter().enumerate() {
        let param = format!("messages[{at}]");
        let Value::Object(message) = message else {
            return Err(ApiError::wrong_type(&param, "an object", message));
        };
        one(&param, message, served)?;
    }
    tool_answers(messages)
}

fn one(param: &str, message: &Map<String, Value>, served: Served<'_>) -> Result<(), ApiError> {
    let role = match message.get("role") {
        None => return Err(ApiError::missing(&format!("{param}.role"))),
        Some(Value::String(role)) => role.as_str(),
        Some(other) => return Err(ApiError::wrong_type(&format!("{param}.role"), "a string", other)),
    };
    if !ROLES.contains(&role) {
        return Err(ApiError::wrong_value(&format!("{param}.role"), role, ROLES));
    }
    let known: &[&str] = match role {
        "assistant" => ASSISTANT,
        "tool" => &["role", "content", "tool_call_id", "name"],
        _ => &["role", "content", "name"],
    };
    // Clients send a response back with all of its fields.
    let vendor: &[&str] = match served.flavour {
        _ if role != "assistant" => &[],
        Flavour::OpenAi | Flavour::Azure => &[],
        Flavour::Mistral => &["prefix"],
        Flavour::Xai | Flavour::Fireworks => &["reasoning_content"],
        Flavour::Together | Flavour::Server(_) => &["reasoning_content", "reasoning"],
    };
    only(param, message, &[known, vendor].concat(), served.also)?;
    if role == "tool" && !message.get("tool_call_id").is_some_and(Value::is_string) {
        return Err(ApiError::missing(&format!("{param}.tool_call_id")));
    }
    if let Some(calls) = message.get("tool_calls").filter(|calls| !calls.is_null()) {
        tool_calls(param, calls)?;
    }
    content(param, role, message, served)
}

fn content(
    param: &str,
    role: &str,
    message: &Map<String, Value>,
    served: Served<'_>,
) -> Result<(), ApiError> {
    let param = format!("{param}.content");
    let has_other_output = ["tool_calls", "function_call", "refusal", "audio"]
        .iter()
        .any(|key| message.get(*key).is_some_and(|value| !value.is_null()));
    match message.get("content") {
        Some(Value::String(_)) => Ok(()),
        Some(Value::Array(list)) => parts(&param, role, list, served),
        None | Some(Value::Null) if role == "assistant" && has_other_output => Ok(()),
        None => Err(ApiError::missing(&param)),
        Some(other) => Err(ApiError::wrong_type(&param, "one of a string or array of objects", other)),
    }
}

fn parts(param: &str, role: &str, list: &[Value], served: Served<'_>) -> Result<(), ApiError> {
    if list.is_empty() {
        return Err(ApiError::bad(format!("Invalid '{param}': empty array.")).at(param, "empty_array"));
    }
    let supported: &[&str] = match role {
        "user" => &["text", "image_url", "input_audio", "file"],
        "assistant" => &["text", "refusal"],
        _ => &["text"],
    };
    for (at, part) in list.iter().enumerate() {
        let param = format!("{param}[{at}]");
        let Value::Object(part) = part else {
            return Err(ApiError::wrong_type(&param, "an object", part));
        };
        let kind = part
            .get("type")
            .and_then(Value::as_str)
            .ok_or_else(|| ApiError::missing(&format!("{param}.type")))?;
        if !supported.contains(&kind) {
            return Err(ApiError::wrong_value(&format!("{param}.type"), kind, supported));
        }
        let field = PARTS.iter().find(|(name, _)| *name == kind).map_or(kind, |(_, field)| field);
        let Some(value) = part.get(field) else {
            return Err(ApiError::missing(&format!("{param}.{field}")));
        };
        let textual = matches!(kind, "text" | "refusal");
        if textual && !value.is_string() {
            return Err(ApiError::wrong_type(&format!("{param}.{field}"), "a string", value));
        }
        if !textual && !value.is_object() {
            return Err(ApiError::wrong_type(&format!("{param}.{field}"), "an object", value));
        }
        if let (Value::Object(inner), Flavour::OpenAi | Flavour::Azure) = (value, served.flavour) {
            super::parts::media(&format!("{param}.{field}"), kind, inner)?;
        }
        only(&param, part, &["type", field, "prompt_cache_breakpoint"], served.also)?;
    }
    Ok(())
}

fn tool_calls(param: &str, calls: &Value) -> Result<(), ApiError> {
    let param = format!("{param}.tool_calls");
    let Value::Array(calls) = calls else {
        return Err(ApiError::wrong_type(&param, "an array of objects", calls));
    };
    for (at, call) in calls.iter().enumerate() {
        let param = format!("{param}[{at}]");
        if !call.get("id").is_some_and(Value::is_string) {
            return Err(ApiError::missing(&format!("{param}.id")));
        }
        let inner = match call.get("type").and_then(Value::as_str) {
            Some("function") => "arguments",
            Some("custom") => "input",
            Some(other) => {
                return Err(ApiError::wrong_value(&format!("{param}.type"), other, &["function", "custom"]));
            }
            None => return Err(ApiError::missing(&format!("{param}.type"))),
        };
        let kind = if inner == "input" { "custom" } else { "function" };
        for field in ["name", inner] {
            let path = format!("{param}.{kind}.{field}");
            match call.get(kind).and_then(|call| call.get(field)) {
                Some(Value::String(_)) => {}
                Some(other) => return Err(ApiError::wrong_type(&path, "a string", other)),
                None => return Err(ApiError::missing(&path)),
            }
        }
    }
    Ok(())
}

/// The results of tool calls must follow directly, and each result must belong to a call.
fn tool_answers(messages: &[Value]) -> Result<(), ApiError> {
    let mut open: Vec<&str> = Vec::new();
    let mut in_turn = false;
    for (at, message) in messages.iter().enumerate() {
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        if role == "tool" {
            let id = message.get("tool_call_id").and_then(Value::as_str).unwrap_or_default();
            let Some(found) = open.iter().position(|call| *call == id).filter(|_| in_turn) else {
                return Err(ApiError::bad(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceding message with \
                     'tool_calls'.",
                )
                .param(format!("messages.[{at}].role")));
            };
            open.swap_remove(found);
            continue;
        }
        check_unanswered(&open, at)?;
        open = message
            .get("tool_calls")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|call| call.get("id").and_then(Value::as_str))
            .collect();
        in_turn = !open.is_empty();
    }
    check_unanswered(&open, messages.len())
}

fn check_unanswered(open: &[&str], at: usize) -> Result<(), ApiError> {
    if open.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad(format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
         'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        open.join(", ")
    ))
    .param(format!("messages.[{at}].role")))
}

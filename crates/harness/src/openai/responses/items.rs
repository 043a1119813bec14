//! Input items one by one: their types, keys, ids and parts.

use serde_json::{Map, Value, json};

use crate::openai::checks::{self, Shape, Shape::*};
use crate::openai::error::ApiError;

/// An item type: its id prefix, and each key with its shape; the first keys are required.
struct Grammar {
    kind: &'static str,
    prefix: &'static str,
    required: usize,
    keys: &'static [(&'static str, Shape)],
}

const STATUS: Shape = OneOf(&["in_progress", "completed", "incomplete"]);

#[rustfmt::skip]
const GRAMMARS: &[Grammar] = &[
    Grammar {
        kind: "message", prefix: "msg", required: 2,
        keys: &[
            ("role", OneOf(&["assistant", "system", "developer", "user"])), ("content", TextOrList),
            ("id", Text), ("status", STATUS), ("phase", OneOf(&["commentary", "final_answer"])),
        ],
    },
    Grammar {
        kind: "function_call", prefix: "fc", required: 3,
        keys: &[
            ("call_id", Text), ("name", Text), ("arguments", Text), ("id", Text), ("status", STATUS),
            ("namespace", Text), ("caller", Object),
        ],
    },
    Grammar {
        kind: "function_call_output", prefix: "fc", required: 2,
        keys: &[
            ("call_id", Text), ("output", TextOrList), ("id", Text), ("status", STATUS), ("caller", Object),
        ],
    },
    Grammar {
        kind: "custom_tool_call", prefix: "ctc", required: 3,
        keys: &[
            ("call_id", Text), ("name", Text), ("input", Text), ("id", Text), ("status", STATUS),
            ("namespace", Text),
        ],
    },
    Grammar {
        kind: "custom_tool_call_output", prefix: "ctc", required: 2,
        keys: &[("call_id", Text), ("output", TextOrList), ("id", Text), ("status", STATUS)],
    },
    Grammar {
        kind: "reasoning", prefix: "rs", required: 1,
        keys: &[
            ("summary", List), ("id", Text), ("content", List), ("encrypted_content", Text),
            ("status", STATUS),
        ],
    },
    Grammar { kind: "item_reference", prefix: "", required: 1, keys: &[("id", Text)] },
];

/// Items of hosted tools: accepted unchecked.
#[rustfmt::skip]
const HOSTED: &[&str] = &[
    "web_search_call", "file_search_call", "computer_call", "computer_call_output", "code_interpreter_call",
    "image_generation_call", "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output",
    "apply_patch_call", "apply_patch_call_output", "mcp_list_tools", "mcp_approval_request",
    "mcp_approval_response", "mcp_call", "tool_search_call", "tool_search_output", "additional_tools",
    "configuration_update", "compaction", "compaction_trigger", "program", "program_output",
];

/// The input as items, each with its `type`.
pub(crate) fn read(input: Option<&Value>) -> Result<Vec<Value>, ApiError> {
    let list = match input {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => {
            let content = json!([{"type": "input_text", "text": text}]);
            return Ok(vec![json!({"type": "message", "role": "user", "content": content})]);
        }
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(ApiError::wrong_type("input", "one of a string or array of objects", other));
        }
    };
    list.iter().enumerate().map(|(at, item)| one(&format!("input[{at}]"), item)).collect()
}

fn one(param: &str, item: &Value) -> Result<Value, ApiError> {
    let Value::Object(fields) = item else { return Err(ApiError::wrong_type(param, "an object", item)) };
    let kind = match fields.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Null) | None if fields.contains_key("role") => "message",
        Some(Value::Null) | None if fields.contains_key("id") && fields.len() <= 2 => "item_reference",
        Some(Value::Null) | None => return Err(ApiError::missing(&format!("{param}.type"))),
        Some(other) => return Err(ApiError::wrong_type(&format!("{param}.type"), "a string", other)),
    };
    if HOSTED.contains(&kind) {
        return Ok(item.clone());
    }
    let Some(grammar) = GRAMMARS.iter().find(|grammar| grammar.kind == kind) else {
        let mut all: Vec<&str> = GRAMMARS.iter().map(|grammar| grammar.kind).collect();
        all.extend(HOSTED);
        return Err(ApiError::wrong_value(param, kind, &all));
    };
    keys(param, fields, grammar)?;
    parts(param, kind, fields)?;
    let mut item = fields.clone();
    item.insert("type".to_owned(), Value::from(kind));
    Ok(Value::Object(item))
}

fn keys(param: &str, fields: &Map<String, Value>, grammar: &Grammar) -> Result<(), ApiError> {
    for (name, _) in grammar.keys.iter().take(grammar.required) {
        if fields.get(*name).is_none_or(Value::is_null) {
            return Err(ApiError::missing(&format!("{param}.{name}")));
        }
    }
    for (name, value) in fields.iter().filter(|(name, _)| *name != "type") {
        let path = format!("{param}.{name}");
        let Some((_, shape)) = grammar.keys.iter().find(|(known, _)| known == name) else {
            return Err(ApiError::unknown_parameter(&path));
        };
        if !value.is_null() {
            checks::shape(&path, shape, value)?;
        }
    }
    let id = fields.get("id").and_then(Value::as_str);
    match id.filter(|id| !id.starts_with(grammar.prefix)) {
        None => Ok(()),
        Some(id) => Err(ApiError::bad(format!(
            "Invalid '{param}.id': '{id}'. Expected an ID that begins with '{}'.",
            grammar.prefix
        ))
        .at(format!("{param}.id"), "invalid_value")),
    }
}

/// Checks the content parts of a list in an item, each with its required field.
fn parts(param: &str, kind: &str, fields: &Map<String, Value>) -> Result<(), ApiError> {
    let input: &[&str] = &["input_text", "input_image", "input_file"];
    let (name, supported) = match kind {
        "message" if fields.get("role").and_then(Value::as_str) == Some("assistant") => {
            ("content", ["output_text", "refusal"].as_slice())
        }
        "message" => ("content", input),
        "function_call_output" | "custom_tool_call_output" => ("output", input),
        "reasoning" => {
            list(param, "content", &["reasoning_text"], fields)?;
            ("summary", ["summary_text"].as_slice())
        }
        _ => return Ok(()),
    };
    list(param, name, supported, fields)
}

fn list(param: &str, name: &str, supported: &[&str], fields: &Map<String, Value>) -> Result<(), ApiError> {
    let parts = fields.get(name).and_then(Value::as_array);
    for (at, part) in parts.into_iter().flatten().enumerate() {
        let param = format!("{param}.{name}[{at}]");
        let Value::Object(part) = part else { return Err(ApiError::wrong_type(&param, "an object", part)) };
        self::part(&param, part, supported)?;
    }
    Ok(())
}

fn part(param: &str, part: &Map<String, Value>, supported: &[&str]) -> Result<(), ApiError> {
    let kind = part.get("type").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| ApiError::missing(&format!("{param}.type")))?;
    if !supported.contains(&kind) {
        return Err(ApiError::wrong_value(param, kind, supported));
    }
    let (needed, known): (&[&str], &[&str]) = match kind {
        "input_image" => (&["image_url", "file_id"], &["detail", "prompt_cache_breakpoint"]),
        "input_file" => {
            (&["file_data", "file_id", "file_url"], &["filename", "detail", "prompt_cache_breakpoint"])
        }
        "refusal" => (&["refusal"], &[]),
        "output_text" => (&["text"], &["annotations", "logprobs"]),
        _ => (&["text"], &["prompt_cache_breakpoint"]),
    };
    checks::only(param, part, &[&["type"], needed, known].concat(), &[])?;
    let given: Vec<&&str> =
        needed.iter().filter(|name| part.get(**name).is_some_and(|value| !value.is_null())).collect();
    let Some(name) = given.first() else {
        let first = needed.first().copied().unwrap_or_default();
        return Err(ApiError::missing(&format!("{param}.{first}")));
    };
    let value = part.get(**name).unwrap_or(&Value::Null);
    checks::shape(&format!("{param}.{name}"), &Text, value)
}

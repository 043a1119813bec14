//! The fields of a Responses request and their allowed values.

use serde_json::{Map, Value};

use crate::emulator::{Kind, Model};
use crate::openai::checks::{self, Shape, Shape::*};
use crate::openai::error::ApiError;
use crate::openai::flavour::{Flavour, Served};
use crate::openai::request::{flag, is_given, list, metadata};
use crate::openai::tools;

const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];
const SUMMARIES: &[&str] = &["auto", "concise", "detailed"];
const LEVELS: &[&str] = &["low", "medium", "high"];

/// Every top-level field (wire facts, section 3.2), plus the one that Codex adds.
#[rustfmt::skip]
pub(crate) const FIELDS: &[(&str, Shape)] = &[
    ("access_programs", Object), ("background", Flag), ("client_metadata", Object),
    ("context_management", List), ("conversation", TextOrObject), ("image", Object), ("include", List),
    ("input", TextOrList), ("instructions", Text), ("max_output_tokens", Integer(16, i64::MAX)),
    ("max_tool_calls", Integer(1, i64::MAX)), ("metadata", Object), ("model", Text), ("moderation", Object),
    ("parallel_tool_calls", Flag), ("previous_response_id", Text), ("prompt", Object),
    ("prompt_cache_key", Text), ("prompt_cache_options", Object),
    ("prompt_cache_retention", OneOf(&["in_memory", "24h"])), ("reasoning", Object),
    ("safety_identifier", Text),
    ("service_tier", OneOf(&["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"])),
    ("store", Flag), ("stream", Flag), ("stream_options", Object), ("temperature", Decimal(0.0, 2.0)),
    ("text", Object), ("tool_choice", TextOrObject), ("tools", List), ("top_logprobs", Integer(0, 20)),
    ("top_p", Decimal(0.0, 1.0)), ("truncation", OneOf(&["auto", "disabled"])), ("user", Text),
];

/// Fields inside fields.
const REASONING: &[(&str, Shape)] = &[
    ("context", Text),
    ("effort", OneOf(EFFORTS)),
    ("generate_summary", OneOf(SUMMARIES)),
    ("mode", Text),
    ("summary", OneOf(SUMMARIES)),
];
const TEXT: &[(&str, Shape)] = &[("format", Object), ("verbosity", OneOf(LEVELS))];

#[rustfmt::skip]
const INCLUDABLE: &[&str] = &[
    "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
    "message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
    "reasoning.encrypted_content", "message.output_text.logprobs",
];

/// Hosted tools, which OpenAI runs itself; the emulator accepts them and never calls them.
#[rustfmt::skip]
const HOSTED: &[&str] = &[
    "web_search", "web_search_preview", "file_search", "computer", "computer_use_preview", "code_interpreter",
    "image_generation", "mcp", "shell", "local_shell", "apply_patch", "tool_search", "namespace",
    "programmatic_tool_calling", "x_search", "code_execution", "collections_search",
];
#[rustfmt::skip]
const FUNCTION: &[&str] = &[
    "type", "name", "description", "parameters", "strict", "defer_loading", "output_schema",
    "allowed_callers",
];

const CUSTOM: &[&str] = &["type", "name", "description", "format", "defer_loading", "allowed_callers"];

/// Rejects what the endpoint rejects before it reads the input.
pub(crate) fn check(fields: &Map<String, Value>, model: &Model, served: Served<'_>) -> Result<(), ApiError> {
    if !matches!(model.kind, Kind::Chat | Kind::Reasoning) {
        return Err(ApiError::bad(format!(
            "The requested model '{}' cannot be used with the Responses API.",
            model.id
        ))
        .at("model", "unsupported_model"));
    }
    checks::fields(fields, &[FIELDS], served.also, ApiError::unknown_parameter)?;
    check_nested(fields, "reasoning", REASONING)?;
    check_nested(fields, "text", TEXT)?;
    check_nested(fields, "stream_options", &[("include_obfuscation", Flag)])?;
    if is_given(fields, "stream_options") && !flag(fields, "stream") {
        return Err(ApiError::bad(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        )
        .param("stream_options"));
    }
    include(fields)?;
    sampling(fields, model, served.flavour)?;
    length(fields, model)?;
    format(fields)?;
    tools(fields)?;
    metadata(fields)?;
    state(fields)
}

/// Rejects unknown names and invalid values inside an object field.
fn check_nested(fields: &Map<String, Value>, name: &str, table: &[(&str, Shape)]) -> Result<(), ApiError> {
    let Some(Value::Object(object)) = fields.get(name) else { return Ok(()) };
    for (key, value) in object {
        let param = format!("{name}.{key}");
        let Some((_, shape)) = table.iter().find(|(known, _)| known == key) else {
            return Err(ApiError::unknown_parameter(&param));
        };
        if !value.is_null() {
            checks::shape(&param, shape, value)?;
        }
    }
    Ok(())
}

fn include(fields: &Map<String, Value>) -> Result<(), ApiError> {
    for (at, one) in list(fields, "include").iter().enumerate() {
        checks::shape(&format!("include[{at}]"), &OneOf(INCLUDABLE), one)?;
    }
    Ok(())
}

/// Whether `include` contains this value.
pub(crate) fn includes(fields: &Map<String, Value>, name: &str) -> bool {
    list(fields, "include").iter().any(|one| one == name)
}

/// Rejects parameters that reasoning models do not accept, and reasoning parameters on other models.
fn sampling(fields: &Map<String, Value>, model: &Model, flavour: Flavour) -> Result<(), ApiError> {
    let logprobs = "message.output_text.logprobs";
    if model.kind != Kind::Reasoning {
        let effort = fields.get("reasoning").and_then(|reasoning| reasoning.get("effort"));
        if effort.is_some_and(|effort| !effort.is_null()) {
            return Err(ApiError::unsupported("reasoning.effort", ""));
        }
        if includes(fields, "reasoning.encrypted_content") {
            return Err(ApiError::bad("Encrypted content is not supported with this model.").param("include"));
        }
    } else if matches!(flavour, Flavour::OpenAi | Flavour::Azure) {
        for name in ["temperature", "top_p", "top_logprobs"] {
            if is_given(fields, name) {
                return Err(ApiError::unsupported(name, ""));
            }
        }
        if includes(fields, logprobs) {
            return Err(ApiError::unsupported("include", ""));
        }
    }
    if is_given(fields, "top_logprobs") && !includes(fields, logprobs) {
        return Err(ApiError::bad(format!(
            "The 'top_logprobs' parameter is only allowed when 'include' has '{logprobs}'."
        ))
        .param("top_logprobs"));
    }
    Ok(())
}

fn length(fields: &Map<String, Value>, model: &Model) -> Result<(), ApiError> {
    let tokens = fields.get("max_output_tokens").and_then(Value::as_u64);
    match (tokens, model.output_tokens_max) {
        (Some(tokens), Some(most)) if tokens > most => Err(ApiError::bad(format!(
            "Invalid 'max_output_tokens': integer above maximum value. Expected a value <= {most}, but got {tokens} instead."
        ))
        .at("max_output_tokens", "integer_above_max_value")),
        _ => Ok(()),
    }
}

fn format(fields: &Map<String, Value>) -> Result<(), ApiError> {
    let Some(format) = fields.get("text").and_then(|text| text.get("format")).and_then(Value::as_object)
    else {
        return Ok(());
    };
    let known: &[&str] = match format.get("type").and_then(Value::as_str) {
        None => return Err(ApiError::missing("text.format.type")),
        Some("text") => &["type"],
        Some("json_object") => {
            let input = fields.get("input").map(Value::to_string).unwrap_or_default().to_lowercase();
            if !input.contains("json") {
                return Err(ApiError::bad(
                    "Response input messages must contain the word 'json' in some form to use 'text.format' of type \
                     'json_object'.",
                )
                .param("input"));
            }
            &["type"]
        }
        Some("json_schema") => {
            return tools::format("text.format", format, &["type"]);
        }
        Some(other) => {
            let kinds = &["json_object", "json_schema", "text"];
            return Err(ApiError::wrong_value("text.format.type", other, kinds));
        }
    };
    checks::only("text.format", format, known, &[])
}

fn tools(fields: &Map<String, Value>) -> Result<(), ApiError> {
    let tools = list(fields, "tools");
    for (at, tool) in tools.iter().enumerate() {
        let param = format!("tools[{at}]");
        let Value::Object(tool) = tool else { return Err(ApiError::wrong_type(&param, "an object", tool)) };
        self::tool(&param, tool)?;
    }
    choice(fields, tools)
}

fn tool(param: &str, tool: &Map<String, Value>) -> Result<(), ApiError> {
    match tool.get("type").and_then(Value::as_str) {
        None => Err(ApiError::missing(&format!("{param}.type"))),
        Some("function") => tools::function(param, tool, FUNCTION),
        Some("custom") => tools::custom(param, tool, CUSTOM),
        Some(hosted) if HOSTED.contains(&hosted) => Ok(()),
        Some(other) => {
            let all = [&["function", "custom"], HOSTED].concat();
            Err(ApiError::wrong_value(&format!("{param}.type"), other, &all))
        }
    }
}

fn choice(fields: &Map<String, Value>, tools: &[Value]) -> Result<(), ApiError> {
    let names =
        || tools.iter().filter_map(|tool| tool.get("name").and_then(Value::as_str)).collect::<Vec<_>>();
    match fields.get("tool_choice") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(mode)) => {
            checks::shape("tool_choice", &OneOf(&["none", "auto", "required"]), &Value::from(mode.as_str()))?;
            if mode == "required" && tools.is_empty() {
                return Err(ApiError::bad(
                    "Tool choice 'required' must be specified with 'tools' parameter.",
                )
                .param("tool_choice"));
            }
            Ok(())
        }
        Some(choice) => match choice.get("type").and_then(Value::as_str) {
            None => Err(ApiError::missing("tool_choice.type")),
            Some("function" | "custom") => {
                let name = choice.get("name").and_then(Value::as_str);
                // The nested form of a chat request is the usual mistake here.
                tools::check_choice(name.ok_or_else(|| ApiError::missing("tool_choice.name"))?, &names())
            }
            Some("allowed_tools") => Ok(()),
            Some(hosted) if HOSTED.contains(&hosted) => Ok(()),
            Some(other) => {
                let all = [&["function", "custom", "allowed_tools"], HOSTED].concat();
                Err(ApiError::wrong_value("tool_choice.type", other, &all))
            }
        },
    }
}

/// Rejects combinations of storage options that exclude each other, and options that the vendor does not
/// have.
fn state(fields: &Map<String, Value>) -> Result<(), ApiError> {
    if flag(fields, "background") && fields.get("store") == Some(&Value::Bool(false)) {
        return Err(ApiError::bad("Background mode requires 'store' to be true.").param("background"));
    }
    if is_given(fields, "conversation") && is_given(fields, "previous_response_id") {
        return Err(ApiError::bad(
            "Mutually exclusive parameters: ['previous_response_id', 'conversation']. Ensure you are only providing \
             one of them.",
        )
        .code("mutually_exclusive_parameters"));
    }
    for (name, what) in [("conversation", "Conversation"), ("prompt", "Prompt")] {
        if let Some(value) = fields.get(name).filter(|value| !value.is_null()) {
            let id = value.get("id").unwrap_or(value).as_str().unwrap_or_default();
            let message = format!("{what} with id '{id}' not found.");
            return Err(ApiError::new(404, "invalid_request_error", message).param(name));
        }
    }
    let has_input = ["input", "previous_response_id"].iter().any(|name| is_given(fields, name));
    if has_input {
        return Ok(());
    }
    Err(ApiError::bad(
        "One of 'input' or 'previous_response_id' or 'prompt' or 'conversation' must be provided.",
    )
    .code("missing_required_parameter"))
}

//! Parses a complete Responses request, and translates it to the chat request from which the response is
//! generated.

use serde_json::{Map, Value, json};

use super::fields::{self, includes};
use super::items;
use super::order::{self, Known, kind, text};
use crate::emulator::Kind;
use crate::openai::error::ApiError;
use crate::openai::flavour::{Flavour, Served};
use crate::openai::request::{ChatRequest, flag, is_given, list, named_model, script, text as field};

/// A request that passed every check.
#[derive(Debug, Clone)]
pub(crate) struct ResponsesRequest {
    pub(crate) chat: ChatRequest,
    /// The input items of this call.
    pub(crate) input: Vec<Value>,
    pub(crate) previous: Option<String>,
    pub(crate) store: bool,
    pub(crate) background: bool,
    /// Whether the client requested a reasoning summary.
    pub(crate) summary: bool,
    /// Whether the client requested encrypted reasoning content.
    pub(crate) encrypted: bool,
    /// Whether deltas carry obfuscation padding; true unless the client disables it.
    pub(crate) obfuscated: bool,
    /// The request fields that the response repeats.
    pub(crate) echo: Map<String, Value>,
}

/// Each repeated field and its default.
#[rustfmt::skip]
const ECHOED: &[(&str, &str)] = &[
    ("instructions", "null"), ("max_output_tokens", "null"), ("max_tool_calls", "null"), ("metadata", "{}"),
    ("parallel_tool_calls", "true"), ("previous_response_id", "null"), ("prompt_cache_key", "null"),
    ("prompt_cache_retention", "null"), ("safety_identifier", "null"), ("store", "true"),
    ("temperature", "1.0"), ("tool_choice", "\"auto\""), ("top_logprobs", "0"), ("top_p", "1.0"),
    ("truncation", "\"disabled\""), ("user", "null"),
];

pub(crate) fn read(
    fields: &Map<String, Value>,
    served: Served<'_>,
    known: &Known<'_>,
) -> Result<ResponsesRequest, ApiError> {
    let model = named_model(fields, served)?;
    fields::check(fields, model, served)?;
    let input = items::read(fields.get("input"))?;
    let previous = field(fields, "previous_response_id");
    let before = match &previous {
        Some(id) => known.store.conversation(known.owner, id)?,
        None => Vec::new(),
    };
    let conversation = order::check(before, &input, known)?;
    let reasons = model.kind == Kind::Reasoning;
    let reasoning = |name: &str| {
        fields.get("reasoning").and_then(|reasoning| reasoning.get(name)).and_then(Value::as_str)
    };
    let chat = ChatRequest {
        flavour: served.flavour,
        model: model.id.clone(),
        reasons,
        messages: messages(fields, &conversation),
        tools: list(fields, "tools").iter().filter_map(tool).collect(),
        tool_choice: tool_choice(fields),
        response_format: response_format(fields),
        stream: flag(fields, "stream"),
        logprobs: includes(fields, "message.output_text.logprobs"),
        choices: 1,
        tokens_max: fields.get("max_output_tokens").and_then(Value::as_u64),
        effort: reasoning("effort").map(str::to_owned),
        service_tier: field(fields, "service_tier")
            .filter(|tier| tier != "auto")
            .unwrap_or_else(|| "default".to_owned()),
        script: script(fields),
        ..ChatRequest::default()
    };
    let declined = fields.get("stream_options").and_then(|options| options.get("include_obfuscation"));
    Ok(ResponsesRequest {
        chat,
        input,
        previous,
        store: fields.get("store").and_then(Value::as_bool).unwrap_or(true),
        background: flag(fields, "background"),
        summary: reasoning("summary").or_else(|| reasoning("generate_summary")).is_some(),
        // xAI returns encrypted reasoning unconditionally.
        encrypted: reasons
            && (served.flavour == Flavour::Xai || includes(fields, "reasoning.encrypted_content")),
        obfuscated: declined != Some(&Value::Bool(false)),
        echo: echo(fields, reasons),
    })
}

fn echo(fields: &Map<String, Value>, reasons: bool) -> Map<String, Value> {
    let or =
        |name: &str, value: Value| fields.get(name).filter(|sent| !sent.is_null()).cloned().unwrap_or(value);
    let mut echo: Map<String, Value> = ECHOED
        .iter()
        .map(|(name, absent)| {
            ((*name).to_owned(), or(name, serde_json::from_str(absent).unwrap_or_default()))
        })
        .collect();
    let inside = |outer: &str, name: &str| {
        fields.get(outer).and_then(|object| object.get(name)).cloned().unwrap_or_default()
    };
    let effort = match inside("reasoning", "effort") {
        Value::Null if reasons => Value::from("medium"),
        effort => effort,
    };
    let format = match inside("text", "format") {
        Value::Null => json!({"type": "text"}),
        format => format,
    };
    let verbosity = match inside("text", "verbosity") {
        Value::Null => Value::from("medium"),
        verbosity => verbosity,
    };
    let reasoning = json!({"effort": effort, "summary": inside("reasoning", "summary")});
    echo.insert("reasoning".to_owned(), reasoning);
    echo.insert("text".to_owned(), json!({"format": format, "verbosity": verbosity}));
    echo.insert("tools".to_owned(), list(fields, "tools").iter().map(repeat_tool).collect());
    echo
}

/// A function tool as repeated in the response: `strict` defaults to true, and `description` is always
/// present.
fn repeat_tool(tool: &Value) -> Value {
    let mut tool = tool.clone();
    if let (Some("function"), Some(fields)) =
        (tool.get("type").and_then(Value::as_str).map(str::to_owned).as_deref(), tool.as_object_mut())
    {
        for (name, absent) in
            [("description", Value::Null), ("strict", Value::Bool(true)), ("parameters", Value::Null)]
        {
            fields.entry(name).or_insert(absent);
        }
    }
    tool
}

fn messages(fields: &Map<String, Value>, items: &[Value]) -> Vec<Value> {
    let instructions = fields.get("instructions").filter(|value| !value.is_null());
    let system = instructions.map(|text| json!({"role": "system", "content": text}));
    system.into_iter().chain(items.iter().map(message)).collect()
}

/// An item as the chat message whose tokens it costs.
fn message(item: &Value) -> Value {
    let call = |kind: &str, field: &str| {
        let inner = json!({"name": text(item, "name"), field: text(item, field)});
        json!({"role": "assistant", "tool_calls": [{"id": text(item, "call_id"), "type": kind, kind: inner}]})
    };
    match kind(item) {
        "message" => json!({"role": text(item, "role"), "content": content(item.get("content"))}),
        "function_call" => call("function", "arguments"),
        "custom_tool_call" => call("custom", "input"),
        "function_call_output" | "custom_tool_call_output" => {
            json!({"role": "tool", "content": content(item.get("output"))})
        }
        // Encrypted reasoning is read back, but how it is billed is not documented: it costs what any message
        // does.
        "reasoning" => json!({"role": "assistant", "content": ""}),
        _ => json!({"role": "assistant", "content": item.to_string()}),
    }
}

/// Content parts under their chat names.
fn content(content: Option<&Value>) -> Value {
    let Some(Value::Array(parts)) = content else { return content.cloned().unwrap_or_default() };
    let part = |part: &Value| match text(part, "type") {
        "input_text" | "output_text" => json!({"type": "text", "text": text(part, "text")}),
        _ => part.clone(),
    };
    parts.iter().map(part).collect()
}

/// A tool in the nested form of a chat request; OpenAI's hosted tools are never called.
fn tool(tool: &Value) -> Option<Value> {
    match text(tool, "type") {
        kind @ ("function" | "custom") => {
            let inner = json!({"name": text(tool, "name"), "parameters": tool.get("parameters")});
            Some(json!({"type": kind, kind: inner}))
        }
        _ => None,
    }
}

fn tool_choice(fields: &Map<String, Value>) -> Value {
    let choice = fields.get("tool_choice").cloned().unwrap_or_default();
    match text(&choice, "type") {
        kind @ ("function" | "custom") => json!({"type": kind, kind: {"name": text(&choice, "name")}}),
        "allowed_tools" => choice.get("mode").cloned().unwrap_or_default(),
        _ => choice,
    }
}

fn response_format(fields: &Map<String, Value>) -> Value {
    if !is_given(fields, "text") {
        return Value::Null;
    }
    let format = fields.get("text").and_then(|text| text.get("format")).cloned().unwrap_or_default();
    match text(&format, "type") {
        "json_schema" => json!({"type": "json_schema", "json_schema": {"schema": format.get("schema")}}),
        _ => format,
    }
}

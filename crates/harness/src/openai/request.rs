//! Parses a chat request body as strictly as the real provider does.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::checks;
use super::error::ApiError;
use super::flavour::{Flavour, Served};
use super::messages;
use super::{parts, tools};
use crate::emulator::{Kind, Model};
use crate::{mistral, together};

/// A chat request that passed every check.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChatRequest {
    pub(crate) flavour: Flavour,
    pub(crate) model: String,
    /// Whether the model reasons before it answers, unless the requested effort disables that.
    pub(crate) reasons: bool,
    /// The thinking budget, where the request sets one.
    pub(crate) thinking_tokens_max: Option<u64>,
    pub(crate) messages: Vec<Value>,
    pub(crate) tools: Vec<Value>,
    pub(crate) tool_choice: Value,
    pub(crate) response_format: Value,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) include_obfuscation: bool,
    pub(crate) logprobs: bool,
    pub(crate) choices: usize,
    pub(crate) tokens_max: Option<u64>,
    pub(crate) effort: Option<String>,
    pub(crate) stop: Vec<String>,
    pub(crate) service_tier: String,
    pub(crate) script: Option<String>,
    /// Fireworks: whether a response that exceeds the context is truncated instead of rejected.
    pub(crate) truncates: bool,
    /// Fireworks: `perf_metrics` in the body.
    pub(crate) perf_metrics: bool,
}

/// The fields of a tool's `function` and `custom` objects; a custom tool takes free text.
const FUNCTION: &[&str] = &["name", "description", "parameters", "strict"];
const CUSTOM: &[&str] = &["name", "description", "format"];

/// The object's fields in order, with a duplicate key noted separately.
struct Fields {
    values: Map<String, Value>,
    twice: Option<String>,
}

/// Parses the body as one JSON object without duplicate top-level keys.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let unreadable = || {
        ApiError::bad(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP \
             library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)",
        )
    };
    let text = std::str::from_utf8(body).map_err(|_| unreadable())?;
    let fields: Fields = serde_json::from_str(text).map_err(|_| unreadable())?;
    match fields.twice {
        None => Ok(fields.values),
        Some(key) => Err(ApiError::bad(format!("Duplicate request argument supplied: {key}"))
            .at(key, "duplicate_parameter")),
    }
}

/// Checks a chat request against the served models and fields.
pub(crate) fn chat(fields: &Map<String, Value>, served: Served<'_>) -> Result<ChatRequest, ApiError> {
    let fields = match served.flavour {
        Flavour::Server(server) => {
            server.check(fields)?;
            &server.known_fields(fields)
        }
        Flavour::Together => &together::known_fields(fields),
        _ => fields,
    };
    let model = named_model(fields, served)?;
    if !matches!(model.kind, Kind::Chat | Kind::Reasoning) {
        return Err(ApiError::new(
            404,
            "invalid_request_error",
            "This is not a chat model and thus not supported in the v1/chat/completions endpoint.",
        )
        .param("model"));
    }
    if !fields.contains_key("messages") {
        return Err(ApiError::missing("messages"));
    }
    let tables: &[&[(&str, checks::Shape)]] = match served.flavour {
        Flavour::OpenAi | Flavour::Azure | Flavour::Server(_) => &[checks::CHAT],
        Flavour::Xai => &[checks::CHAT, checks::CHAT_XAI],
        Flavour::Fireworks => &[checks::CHAT, checks::CHAT_FIREWORKS],
        Flavour::Mistral => &[mistral::CHAT],
        Flavour::Together => &[together::CHAT],
    };
    if served.flavour == Flavour::Mistral {
        mistral::check(list(fields, "messages"))?;
    }
    checks::fields(fields, tables, served.also, |name| served.flavour.unknown_field(name))?;
    messages::check(list(fields, "messages"), served)?;
    match served.flavour {
        Flavour::OpenAi | Flavour::Azure => reasoning(fields, model)?,
        Flavour::Xai => reasoning_xai(fields, model)?,
        Flavour::Fireworks | Flavour::Mistral | Flavour::Together | Flavour::Server(_) => {}
    }
    options(fields)?;
    length(fields, model)?;
    tools(fields, served.flavour)?;
    if matches!(served.flavour, Flavour::OpenAi | Flavour::Azure) {
        parts::beside(fields)?;
    }
    metadata(fields)?;
    Ok(read(fields, model, served.flavour))
}

/// Finds the served model that the request names.
pub(crate) fn named_model<'a>(
    fields: &Map<String, Value>,
    served: Served<'a>,
) -> Result<&'a Model, ApiError> {
    match fields.get("model") {
        None | Some(Value::Null) => Err(ApiError::bad("you must provide a model parameter")),
        Some(Value::String(name)) => served.find(name),
        Some(other) => Err(ApiError::wrong_type("model", "a string", other)),
    }
}

/// The script that a request carries: a `user` value that starts with `emu:`, or `metadata.emulate`.
pub(crate) fn script(fields: &Map<String, Value>) -> Option<String> {
    let user = fields.get("user").and_then(Value::as_str);
    let metadata =
        fields.get("metadata").and_then(|metadata| metadata.get("emulate")).and_then(Value::as_str);
    user.and_then(|user| user.strip_prefix("emu:")).or(metadata).map(str::to_owned)
}

pub(crate) fn flag(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).and_then(Value::as_bool).unwrap_or_default()
}

pub(crate) fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    fields.get(name).and_then(Value::as_str).map(str::to_owned)
}

pub(crate) fn is_given(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}

pub(crate) fn list<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    fields.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn reasoning(fields: &Map<String, Value>, model: &Model) -> Result<(), ApiError> {
    if model.kind != Kind::Reasoning {
        return if is_given(fields, "reasoning_effort") {
            Err(ApiError::unknown_argument("reasoning_effort"))
        } else {
            Ok(())
        };
    }
    if is_given(fields, "max_tokens") {
        return Err(ApiError::unsupported("max_tokens", " Use 'max_completion_tokens' instead."));
    }
    for name in ["stop", "logprobs", "top_logprobs", "logit_bias", "presence_penalty", "frequency_penalty"] {
        if is_given(fields, name) && fields.get(name) != Some(&Value::Bool(false)) {
            return Err(ApiError::unsupported(name, ""));
        }
    }
    for name in ["temperature", "top_p"] {
        let value = fields.get(name).and_then(Value::as_f64);
        if let Some(value) = value.filter(|value| (value - 1.0).abs() > f64::EPSILON) {
            return Err(ApiError::bad(format!(
                "Unsupported value: '{name}' does not support {value} with this model. Only the default (1) value \
                 is supported."
            ))
            .at(name, "unsupported_value"));
        }
    }
    Ok(())
}

/// xAI's reasoning models accept sampling parameters but neither stop sequences nor penalties; its other
/// models do not reason.
fn reasoning_xai(fields: &Map<String, Value>, model: &Model) -> Result<(), ApiError> {
    let refused: &[&str] = match model.kind {
        Kind::Reasoning => &["stop", "presence_penalty", "frequency_penalty"],
        _ => &["reasoning_effort"],
    };
    match refused.iter().find(|name| is_given(fields, name)) {
        Some(name) => {
            Err(ApiError::bad(format!("Argument not supported on this model: {name}")).param(*name))
        }
        None => Ok(()),
    }
}

fn options(fields: &Map<String, Value>) -> Result<(), ApiError> {
    if is_given(fields, "max_tokens") && is_given(fields, "max_completion_tokens") {
        return Err(ApiError::bad(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        )
        .at("max_completion_tokens", "invalid_parameter_combination"));
    }
    if is_given(fields, "top_logprobs") && !flag(fields, "logprobs") {
        return Err(ApiError::bad(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
        )
        .param("top_logprobs"));
    }
    stream_options(fields)?;
    stops(fields)?;
    response_format(fields)
}

/// `stream_options` requires `stream`, and has two known fields.
pub(crate) fn stream_options(fields: &Map<String, Value>) -> Result<(), ApiError> {
    if let Some(Value::Object(options)) = fields.get("stream_options") {
        if !flag(fields, "stream") {
            return Err(ApiError::bad(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            )
            .param("stream_options"));
        }
        checks::only("stream_options", options, &["include_usage", "include_obfuscation"], &[])?;
        for (name, value) in options.iter().filter(|(_, value)| !value.is_null()) {
            checks::shape(&format!("stream_options.{name}"), &checks::Shape::Flag, value)?;
        }
    }
    Ok(())
}

/// At most four stop sequences, all of them strings.
pub(crate) fn stops(fields: &Map<String, Value>) -> Result<(), ApiError> {
    if let Some(Value::Array(stops)) = fields.get("stop") {
        if stops.len() > 4 {
            return Err(ApiError::bad(
                "Invalid 'stop': array too long. Expected an array with maximum length 4.",
            )
            .at("stop", "array_above_max_length"));
        }
        for stop in stops {
            checks::shape("stop", &checks::Shape::Text, stop)?;
        }
    }
    Ok(())
}

/// The stop sequences as a list.
pub(crate) fn stop_list(fields: &Map<String, Value>) -> Vec<String> {
    match fields.get("stop") {
        Some(Value::String(stop)) => vec![stop.clone()],
        _ => list(fields, "stop").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

fn response_format(fields: &Map<String, Value>) -> Result<(), ApiError> {
    let Some(Value::Object(format)) = fields.get("response_format") else { return Ok(()) };
    match format.get("type").and_then(Value::as_str) {
        None => Err(ApiError::missing("response_format.type")),
        Some("text") => Ok(()),
        Some("json_object") => {
            let content = Value::Array(list(fields, "messages").to_vec()).to_string().to_lowercase();
            if content.contains("json") {
                return Ok(());
            }
            Err(ApiError::bad(
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type \
                 'json_object'.",
            )
            .param("messages"))
        }
        Some("json_schema") => match format.get("json_schema") {
            None => Err(ApiError::missing("response_format.json_schema")),
            Some(Value::Object(schema)) => tools::format("response_format.json_schema", schema, &[]),
            Some(other) => Err(ApiError::wrong_type("response_format.json_schema", "an object", other)),
        },
        Some(other) => {
            Err(ApiError::wrong_value("response_format.type", other, &["json_object", "json_schema", "text"]))
        }
    }
}

fn tools(fields: &Map<String, Value>, flavour: Flavour) -> Result<(), ApiError> {
    let tools = list(fields, "tools");
    for name in ["tool_choice", "parallel_tool_calls"] {
        if tools.is_empty() && is_given(fields, name) && fields.get(name) != Some(&Value::from("none")) {
            return Err(
                ApiError::bad(format!("'{name}' is only allowed when 'tools' are specified.")).param(name)
            );
        }
    }
    if is_given(fields, "tools") && tools.is_empty() {
        return Err(ApiError::bad("Invalid 'tools': empty array. Expected an array with minimum length 1.")
            .at("tools", "empty_array"));
    }
    let names: Vec<&str> = tools
        .iter()
        .enumerate()
        .map(|(at, tool)| self::tool(&format!("tools[{at}]"), tool, flavour))
        .collect::<Result<_, _>>()?;
    match fields.get("tool_choice") {
        Some(Value::String(choice)) if choice == "any" && flavour == Flavour::Mistral => Ok(()),
        Some(Value::String(choice)) if !["none", "auto", "required"].contains(&choice.as_str()) => {
            Err(ApiError::wrong_value("tool_choice", choice, &["none", "auto", "required"]))
        }
        Some(Value::Object(choice)) => self::choice(choice, &names),
        _ => Ok(()),
    }
}

/// Checks the fields of a tool; returns its name.
fn tool<'a>(param: &str, tool: &'a Value, flavour: Flavour) -> Result<&'a str, ApiError> {
    let Value::Object(tool) = tool else { return Err(ApiError::wrong_type(param, "an object", tool)) };
    let kind = match tool.get("type").and_then(Value::as_str) {
        None => return Err(ApiError::missing(&format!("{param}.type"))),
        Some(kind @ ("function" | "custom")) => kind,
        Some(other) => {
            return Err(ApiError::wrong_value(&format!("{param}.type"), other, &["function", "custom"]));
        }
    };
    let inner = match tool.get(kind) {
        None => return Err(ApiError::missing(&format!("{param}.{kind}"))),
        Some(Value::Object(inner)) => inner,
        Some(other) => return Err(ApiError::wrong_type(&format!("{param}.{kind}"), "an object", other)),
    };
    let at = format!("{param}.{kind}");
    // Other vendors ignore unknown fields; the name is checked for all of them.
    if matches!(flavour, Flavour::OpenAi | Flavour::Azure) {
        checks::only(param, tool, &["type", kind], &[])?;
        match kind {
            "function" => tools::function(&at, inner, FUNCTION)?,
            _ => tools::custom(&at, inner, CUSTOM)?,
        }
    }
    tools::name(&format!("{at}.name"), inner)
}

/// A `tool_choice` that names one tool, or several allowed tools.
fn choice(choice: &Map<String, Value>, names: &[&str]) -> Result<(), ApiError> {
    let kind = match choice.get("type").and_then(Value::as_str) {
        None => return Err(ApiError::missing("tool_choice.type")),
        Some(kind @ ("function" | "custom" | "allowed_tools")) => kind,
        Some(other) => {
            let known = &["function", "custom", "allowed_tools"];
            return Err(ApiError::wrong_value("tool_choice.type", other, known));
        }
    };
    let path = format!("tool_choice.{kind}");
    // The nested form is the usual mistake of clients written for the other endpoint.
    let inner = choice.get(kind).and_then(Value::as_object).ok_or_else(|| ApiError::missing(&path))?;
    checks::only("tool_choice", choice, &["type", kind], &[])?;
    if kind != "allowed_tools" {
        checks::only(&path, inner, &["name"], &[])?;
        return tools::check_choice(tools::name(&format!("{path}.name"), inner)?, names);
    }
    let mode = inner.get("mode").ok_or_else(|| ApiError::missing(&format!("{path}.mode")))?;
    checks::shape(&format!("{path}.mode"), &checks::Shape::OneOf(&["auto", "required"]), mode)?;
    for tool in list(inner, "tools") {
        let name = ["/function/name", "/custom/name"].iter().find_map(|path| tool.pointer(path)?.as_str());
        tools::check_choice(name.ok_or_else(|| ApiError::missing(&format!("{path}.tools")))?, names)?;
    }
    Ok(())
}

/// Rejects an output limit above the model's maximum.
fn length(fields: &Map<String, Value>, model: &Model) -> Result<(), ApiError> {
    let Some(most) = model.output_tokens_max else { return Ok(()) };
    for name in ["max_tokens", "max_completion_tokens"] {
        let tokens = fields.get(name).and_then(Value::as_u64).unwrap_or_default();
        if tokens > most {
            return Err(ApiError::bad(format!(
                "{name} is too large: {tokens}. This model supports at most {most} completion tokens, whereas you provided \
                 {tokens}."
            ))
            .at(name, "invalid_value"));
        }
    }
    Ok(())
}

pub(crate) fn metadata(fields: &Map<String, Value>) -> Result<(), ApiError> {
    let Some(Value::Object(metadata)) = fields.get("metadata") else { return Ok(()) };
    if metadata.len() > 16 {
        return Err(ApiError::bad(
            "Invalid 'metadata': too many properties. Expected at most 16 properties.",
        )
        .at("metadata", "object_above_max_properties"));
    }
    for (key, value) in metadata {
        let param = format!("metadata.{key}");
        match value {
            Value::String(text) if text.len() <= 512 && key.len() <= 64 => {}
            Value::String(_) => {
                return Err(ApiError::bad(format!("Invalid '{param}': string too long."))
                    .at(param, "string_above_max_length"));
            }
            other => return Err(ApiError::wrong_type(&param, "a string", other)),
        }
    }
    Ok(())
}

fn read(fields: &Map<String, Value>, model: &Model, flavour: Flavour) -> ChatRequest {
    let number = |name: &str| fields.get(name).and_then(Value::as_u64);
    let option = |name: &str| {
        fields
            .get("stream_options")
            .and_then(|options| options.get(name))
            .and_then(Value::as_bool)
            .unwrap_or_default()
    };
    let tier = text(fields, "service_tier").filter(|tier| tier != "auto");
    let truncates = flavour == Flavour::Fireworks
        && text(fields, "context_length_exceeded_behavior").as_deref() != Some("error");
    ChatRequest {
        flavour,
        model: model.id.clone(),
        reasons: model.kind == Kind::Reasoning,
        thinking_tokens_max: None,
        messages: list(fields, "messages").to_vec(),
        tools: list(fields, "tools").to_vec(),
        // Mistral calls it "any".
        tool_choice: match fields.get("tool_choice") {
            Some(choice) if choice == "any" => Value::from("required"),
            choice => choice.cloned().unwrap_or_default(),
        },
        response_format: fields.get("response_format").cloned().unwrap_or_default(),
        stream: flag(fields, "stream"),
        include_usage: option("include_usage"),
        include_obfuscation: option("include_obfuscation"),
        logprobs: flag(fields, "logprobs"),
        choices: number("n").and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
        tokens_max: number("max_completion_tokens").or_else(|| number("max_tokens")),
        effort: text(fields, "reasoning_effort"),
        stop: stop_list(fields),
        service_tier: tier.unwrap_or_else(|| "default".to_owned()),
        script: script(fields),
        truncates,
        perf_metrics: flag(fields, "perf_metrics_in_response"),
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Fields, A::Error> {
        let mut fields = Fields { values: Map::new(), twice: None };
        while let Some(key) = access.next_key::<String>()? {
            let raw: &RawValue = access.next_value()?;
            let value: Value = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
            if fields.values.insert(key.clone(), value).is_some() {
                fields.twice = Some(key);
            }
        }
        Ok(fields)
    }
}

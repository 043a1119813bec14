//! Tables of known request fields and the required types of their values.

use serde_json::{Map, Value};

use super::error::ApiError;

/// The allowed values of a field; every optional field accepts null as absent.
pub(crate) enum Shape {
    Text,
    Flag,
    Integer(i64, i64),
    Decimal(f64, f64),
    List,
    Object,
    OneOf(&'static [&'static str]),
    TextOrList,
    TextOrObject,
}

const ANY: i64 = i64::MAX;

/// Every top-level field of a chat request (wire facts, section 3.1).
pub(crate) const CHAT: &[(&str, Shape)] = &[
    ("messages", Shape::List),
    ("model", Shape::Text),
    ("audio", Shape::Object),
    ("frequency_penalty", Shape::Decimal(-2.0, 2.0)),
    ("function_call", Shape::TextOrObject),
    ("functions", Shape::List),
    ("logit_bias", Shape::Object),
    ("logprobs", Shape::Flag),
    ("max_completion_tokens", Shape::Integer(1, ANY)),
    ("max_tokens", Shape::Integer(1, ANY)),
    ("metadata", Shape::Object),
    ("modalities", Shape::List),
    ("moderation", Shape::Object),
    ("n", Shape::Integer(1, 128)),
    ("parallel_tool_calls", Shape::Flag),
    ("prediction", Shape::Object),
    ("presence_penalty", Shape::Decimal(-2.0, 2.0)),
    ("prompt_cache_key", Shape::Text),
    ("prompt_cache_options", Shape::Object),
    ("prompt_cache_retention", Shape::OneOf(&["in_memory", "24h"])),
    ("reasoning_effort", Shape::OneOf(&["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
    ("response_format", Shape::Object),
    ("safety_identifier", Shape::Text),
    ("seed", Shape::Integer(-ANY, ANY)),
    ("service_tier", Shape::OneOf(&["auto", "default", "flex", "scale", "priority", "fast"])),
    ("stop", Shape::TextOrList),
    ("store", Shape::Flag),
    ("stream", Shape::Flag),
    ("stream_options", Shape::Object),
    ("temperature", Shape::Decimal(0.0, 2.0)),
    ("tool_choice", Shape::TextOrObject),
    ("tools", Shape::List),
    ("top_logprobs", Shape::Integer(0, 20)),
    ("top_p", Shape::Decimal(0.0, 1.0)),
    ("user", Shape::Text),
    ("verbosity", Shape::OneOf(&["low", "medium", "high"])),
    ("web_search_options", Shape::Object),
];

/// Chat fields that xAI accepts in addition to OpenAI's.
pub(crate) const CHAT_XAI: &[(&str, Shape)] =
    &[("deferred", Shape::Flag), ("search_parameters", Shape::Object)];

/// Chat fields that Fireworks accepts in addition to OpenAI's.
pub(crate) const CHAT_FIREWORKS: &[(&str, Shape)] = &[
    ("context_length_exceeded_behavior", Shape::OneOf(&["truncate", "error"])),
    ("echo", Shape::Flag),
    ("ignore_eos", Shape::Flag),
    ("min_p", Shape::Decimal(0.0, 1.0)),
    ("mirostat_lr", Shape::Decimal(0.0, 1.0)),
    ("mirostat_target", Shape::Decimal(0.0, 100.0)),
    ("perf_metrics_in_response", Shape::Flag),
    ("prompt_cache_isolation_key", Shape::Text),
    ("prompt_cache_max_len", Shape::Integer(0, ANY)),
    ("raw_output", Shape::Flag),
    ("reasoning_history", Shape::OneOf(&["disabled", "interleaved", "preserved"])),
    ("repetition_penalty", Shape::Decimal(0.0, 2.0)),
    ("return_token_ids", Shape::Flag),
    ("safe_tokenization", Shape::Flag),
    ("speculation", Shape::TextOrList),
    ("thinking", Shape::Object),
    ("top_k", Shape::Integer(0, 100)),
    ("typical_p", Shape::Decimal(0.0, 1.0)),
];

/// Every top-level field of an embeddings request.
pub(crate) const EMBEDDINGS: &[(&str, Shape)] = &[
    ("input", Shape::TextOrList),
    ("model", Shape::Text),
    ("dimensions", Shape::Integer(1, 1536)),
    ("encoding_format", Shape::OneOf(&["float", "base64"])),
    ("user", Shape::Text),
];

const REQUIRED: &[&str] = &["messages", "model", "input", "prompt"];

/// Rejects unknown fields, with the error of `unknown`, and values of a wrong type.
pub(crate) fn fields(
    fields: &Map<String, Value>,
    tables: &[&[(&str, Shape)]],
    also: &[String],
    unknown: impl Fn(&str) -> ApiError,
) -> Result<(), ApiError> {
    for (name, value) in fields {
        let known = tables.iter().copied().flatten().find(|(known, _)| known == name);
        match known {
            Some((_, shape)) if !value.is_null() || REQUIRED.contains(&name.as_str()) => {
                self::shape(name, shape, value)?;
            }
            Some(_) => {}
            None if also.contains(name) => {}
            None => return Err(unknown(name)),
        }
    }
    Ok(())
}

/// Rejects fields of a nested object that are not listed.
pub(crate) fn only(
    param: &str,
    object: &Map<String, Value>,
    known: &[&str],
    also: &[String],
) -> Result<(), ApiError> {
    for name in object.keys() {
        if !known.contains(&name.as_str()) && !also.contains(name) {
            return Err(ApiError::unknown_parameter(&format!("{param}.{name}")));
        }
    }
    Ok(())
}

pub(crate) fn shape(name: &str, shape: &Shape, value: &Value) -> Result<(), ApiError> {
    let expected = match (shape, value) {
        (Shape::Text, Value::String(_))
        | (Shape::Flag, Value::Bool(_))
        | (Shape::List, Value::Array(_))
        | (Shape::Object, Value::Object(_))
        | (Shape::TextOrList, Value::String(_) | Value::Array(_))
        | (Shape::TextOrObject, Value::String(_) | Value::Object(_)) => return Ok(()),
        (Shape::Integer(low, high), Value::Number(_)) => return integer(name, *low, *high, value),
        (Shape::Decimal(low, high), Value::Number(_)) => return decimal(name, *low, *high, value),
        (Shape::OneOf(list), Value::String(text)) => return one_of(name, list, text),
        (Shape::Text | Shape::OneOf(_), _) => "a string",
        (Shape::Flag, _) => "a boolean",
        (Shape::Integer(..), _) => "an integer",
        (Shape::Decimal(..), _) => "a decimal",
        (Shape::List, _) => "an array of objects",
        (Shape::Object, _) => "an object",
        (Shape::TextOrList, _) => "one of a string or array of strings",
        (Shape::TextOrObject, _) => "one of a string or object",
    };
    Err(ApiError::wrong_type(name, expected, value))
}

fn integer(name: &str, low: i64, high: i64, value: &Value) -> Result<(), ApiError> {
    match value.as_i64() {
        None => Err(ApiError::wrong_type(name, "an integer", value)),
        Some(number) if number < low => Err(bound(name, "integer", "below minimum", ">=", low, number)),
        Some(number) if number > high => Err(bound(name, "integer", "above maximum", "<=", high, number)),
        Some(_) => Ok(()),
    }
}

fn decimal(name: &str, low: f64, high: f64, value: &Value) -> Result<(), ApiError> {
    match value.as_f64() {
        None => Err(ApiError::wrong_type(name, "a decimal", value)),
        Some(number) if number < low => Err(bound(name, "decimal", "below minimum", ">=", low, number)),
        Some(number) if number > high => Err(bound(name, "decimal", "above maximum", "<=", high, number)),
        Some(_) => Ok(()),
    }
}

fn one_of(name: &str, list: &'static [&'static str], text: &str) -> Result<(), ApiError> {
    if list.contains(&text) { Ok(()) } else { Err(ApiError::wrong_value(name, text, list)) }
}

fn bound<T: std::fmt::Display>(
    name: &str,
    kind: &str,
    how: &str,
    relation: &str,
    limit: T,
    got: T,
) -> ApiError {
    ApiError::bad(format!(
        "Invalid '{name}': {kind} {how} value. Expected a value {relation} {limit}, but got {got} instead."
    ))
    .param(name)
    .code(format!("{kind}_{}_value", how.replace(' ', "_")))
}

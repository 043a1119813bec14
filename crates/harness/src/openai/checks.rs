//! Tables of known request fields and the required types of their values.

use serde_json::{Map, Value};

use super::error::ApiError;
use Shape::*;

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
#[rustfmt::skip]
pub(crate) const CHAT: &[(&str, Shape)] = &[
    ("messages", List), ("model", Text), ("audio", Object), ("frequency_penalty", Decimal(-2.0, 2.0)),
    ("function_call", TextOrObject), ("functions", List), ("logit_bias", Object), ("logprobs", Flag),
    ("max_completion_tokens", Integer(1, ANY)), ("max_tokens", Integer(1, ANY)), ("metadata", Object),
    ("modalities", List), ("moderation", Object), ("n", Integer(1, 128)), ("parallel_tool_calls", Flag),
    ("prediction", Object), ("presence_penalty", Decimal(-2.0, 2.0)), ("prompt_cache_key", Text),
    ("prompt_cache_options", Object), ("prompt_cache_retention", OneOf(&["in_memory", "24h"])),
    ("reasoning_effort", OneOf(&["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
    ("response_format", Object), ("safety_identifier", Text), ("seed", Integer(-ANY, ANY)),
    ("service_tier", OneOf(&["auto", "default", "flex", "scale", "priority", "fast"])), ("stop", TextOrList),
    ("store", Flag), ("stream", Flag), ("stream_options", Object), ("temperature", Decimal(0.0, 2.0)),
    ("tool_choice", TextOrObject), ("tools", List), ("top_logprobs", Integer(0, 20)),
    ("top_p", Decimal(0.0, 1.0)), ("user", Text), ("verbosity", OneOf(&["low", "medium", "high"])),
    ("web_search_options", Object),
];

/// Chat fields that xAI accepts in addition to OpenAI's.
pub(crate) const CHAT_XAI: &[(&str, Shape)] = &[("deferred", Flag), ("search_parameters", Object)];

/// Chat fields that Fireworks accepts in addition to OpenAI's.
#[rustfmt::skip]
pub(crate) const CHAT_FIREWORKS: &[(&str, Shape)] = &[
    ("context_length_exceeded_behavior", OneOf(&["truncate", "error"])), ("echo", Flag), ("ignore_eos", Flag),
    ("min_p", Decimal(0.0, 1.0)), ("mirostat_lr", Decimal(0.0, 1.0)),
    ("mirostat_target", Decimal(0.0, 100.0)), ("perf_metrics_in_response", Flag),
    ("prompt_cache_isolation_key", Text), ("prompt_cache_max_len", Integer(0, ANY)), ("raw_output", Flag),
    ("reasoning_history", OneOf(&["disabled", "interleaved", "preserved"])),
    ("repetition_penalty", Decimal(0.0, 2.0)), ("return_token_ids", Flag), ("safe_tokenization", Flag),
    ("speculation", TextOrList), ("thinking", Object), ("top_k", Integer(0, 100)),
    ("typical_p", Decimal(0.0, 1.0)),
];

/// Every top-level field of an embeddings request.
pub(crate) const EMBEDDINGS: &[(&str, Shape)] = &[
    ("input", TextOrList),
    ("model", Text),
    ("dimensions", Integer(1, 1536)),
    ("encoding_format", OneOf(&["float", "base64"])),
    ("user", Text),
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
        (Text, Value::String(_))
        | (Flag, Value::Bool(_))
        | (List, Value::Array(_))
        | (Object, Value::Object(_))
        | (TextOrList, Value::String(_) | Value::Array(_))
        | (TextOrObject, Value::String(_) | Value::Object(_)) => return Ok(()),
        (Integer(low, high), Value::Number(_)) => return integer(name, *low, *high, value),
        (Decimal(low, high), Value::Number(_)) => return decimal(name, *low, *high, value),
        (OneOf(list), Value::String(text)) => return one_of(name, list, text),
        (Text | OneOf(_), _) => "a string",
        (Flag, _) => "a boolean",
        (Integer(..), _) => "an integer",
        (Decimal(..), _) => "a decimal",
        (List, _) => "an array of objects",
        (Object, _) => "an object",
        (TextOrList, _) => "one of a string or array of strings",
        (TextOrObject, _) => "one of a string or object",
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
    .at(name, format!("{kind}_{}_value", how.replace(' ', "_")))
}

//! Checks the contents of message parts and of options that are objects.

use serde_json::{Map, Value};

use super::checks::{self, Shape, Shape::*, only};
use super::error::ApiError;
use super::request::{is_given, list};

type Table = &'static [(&'static str, Shape)];

const IMAGE: Table = &[("url", Text), ("detail", OneOf(&["auto", "low", "high", "original"]))];
const AUDIO: Table = &[("data", Text), ("format", OneOf(&["wav", "mp3"]))];
const FILE: Table = &[("file_data", Text), ("file_id", Text), ("filename", Text)];
const SPOKEN: Table =
    &[("format", OneOf(&["wav", "aac", "mp3", "flac", "opus", "pcm16"])), ("voice", TextOrObject)];
const PREDICTION: Table = &[("type", OneOf(&["content"])), ("content", TextOrList)];
const CACHE: Table = &[("mode", OneOf(&["implicit", "explicit"])), ("ttl", OneOf(&["30m", "12h"]))];
const SEARCH: Table =
    &[("search_context_size", OneOf(&["low", "medium", "high"])), ("user_location", Object)];
/// Each option that is an object, with its known and its required fields.
const OPTIONS: &[(&str, Table, &[&str])] = &[
    ("audio", SPOKEN, &["format", "voice"]),
    ("prediction", PREDICTION, &["type", "content"]),
    ("prompt_cache_options", CACHE, &[]),
    ("web_search_options", SEARCH, &[]),
];

/// Checks an image, audio or file part: `kind` says which, `inner` is the object under that name.
pub(crate) fn media(param: &str, kind: &str, inner: &Map<String, Value>) -> Result<(), ApiError> {
    match kind {
        "image_url" => {
            object(param, inner, IMAGE, &["url"])?;
            check_url(&format!("{param}.url"), inner.get("url").and_then(Value::as_str).unwrap_or_default())
        }
        "input_audio" => object(param, inner, AUDIO, &["data", "format"]),
        "file" => {
            object(param, inner, FILE, &[])?;
            let (data, id) = (is_given(inner, "file_data"), is_given(inner, "file_id"));
            match (data, id) {
                (true, false) | (false, true) => Ok(()),
                (true, true) => Err(ApiError::bad(
                    "Mutually exclusive parameters: ['file_data', 'file_id']. Ensure you are only providing one of them.",
                )
                .at(param, "mutually_exclusive_parameters")),
                (false, false) => Err(ApiError::missing(&format!("{param}.file_id"))),
            }
        }
        _ => Ok(()),
    }
}

/// An image is a web URL or a data URL.
fn check_url(param: &str, url: &str) -> Result<(), ApiError> {
    if ["https://", "http://", "data:image/"].iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(());
    }
    Err(ApiError::bad(format!(
        "Invalid '{param}'. Expected a base64-encoded data URL with an image MIME type (e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), \
         but got a value without the 'data:' prefix."
    ))
    .at(param, "invalid_value"))
}

/// Checks the chat options that are objects or lists.
pub(crate) fn beside(fields: &Map<String, Value>) -> Result<(), ApiError> {
    for (name, table, needed) in OPTIONS {
        if let Some(Value::Object(inner)) = fields.get(*name) {
            object(name, inner, table, needed)?;
        }
    }
    let modalities = list(fields, "modalities");
    for (at, modality) in modalities.iter().enumerate() {
        checks::shape(&format!("modalities[{at}]"), &OneOf(&["text", "audio"]), modality)?;
    }
    if modalities.iter().any(|modality| modality == "audio") && !is_given(fields, "audio") {
        return Err(ApiError::missing("audio"));
    }
    for (at, function) in list(fields, "functions").iter().enumerate() {
        let param = format!("functions[{at}]");
        let Value::Object(function) = function else {
            return Err(ApiError::wrong_type(&param, "an object", function));
        };
        super::tools::function(&param, function, &["name", "description", "parameters"])?;
    }
    Ok(())
}

fn object(param: &str, inner: &Map<String, Value>, table: Table, needed: &[&str]) -> Result<(), ApiError> {
    let known: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
    only(param, inner, &known, &[])?;
    if let Some(name) = needed.iter().find(|name| !is_given(inner, name)) {
        return Err(ApiError::missing(&format!("{param}.{name}")));
    }
    for (name, shape) in table {
        if let Some(value) = inner.get(*name).filter(|value| !value.is_null()) {
            checks::shape(&format!("{param}.{name}"), shape, value)?;
        }
    }
    Ok(())
}

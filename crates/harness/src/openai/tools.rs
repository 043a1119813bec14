//! OpenAI's checks of tools, `tool_choice` and response formats, shared by its endpoints.

use serde_json::{Map, Value};

use super::checks::{self, Shape};
use super::error::ApiError;
use super::schema;

const NAME_BYTES_MAX: usize = 64;
const FORMAT: &[(&str, Shape)] = &[
    ("name", Shape::Text),
    ("schema", Shape::Object),
    ("strict", Shape::Flag),
    ("description", Shape::Text),
];

/// The name of a tool or format, with only the allowed characters.
pub(crate) fn name<'a>(path: &str, fields: &'a Map<String, Value>) -> Result<&'a str, ApiError> {
    let name = fields.get("name").ok_or_else(|| ApiError::missing(path))?;
    let name = name.as_str().ok_or_else(|| ApiError::wrong_type(path, "a string", name))?;
    let legal = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(legal) {
        return Err(ApiError::bad(format!(
            "Invalid '{path}': string does not match pattern. Expected a string that matches the pattern \
             '^[a-zA-Z0-9_-]+$'."
        ))
        .param(path)
        .code("invalid_value"));
    }
    Ok(name)
}

/// Checks a function's fields at `place`: its name, and its parameters, which must be a strict schema where
/// it is strict.
pub(crate) fn function(place: &str, fields: &Map<String, Value>, known: &[&str]) -> Result<(), ApiError> {
    let name = name(&format!("{place}.name"), fields)?;
    checks::only(place, fields, known, &[])?;
    for (field, shape) in [("description", Shape::Text), ("strict", Shape::Flag)] {
        if let Some(value) = fields.get(field).filter(|value| !value.is_null()) {
            checks::shape(&format!("{place}.{field}"), &shape, value)?;
        }
    }
    let (place, owner) = (format!("{place}.parameters"), format!("function '{name}'"));
    let parameters = fields.get("parameters").filter(|parameters| !parameters.is_null());
    parameters.map_or(Ok(()), |parameters| schema::of_object(&place, &owner, parameters))?;
    match fields.get("strict") {
        Some(Value::Bool(true)) => schema::strict(&place, &owner, parameters.unwrap_or(&Value::Null)),
        _ => Ok(()),
    }
}

/// Checks a custom tool, which takes free text, optionally constrained by a grammar.
pub(crate) fn custom(place: &str, fields: &Map<String, Value>, known: &[&str]) -> Result<(), ApiError> {
    name(&format!("{place}.name"), fields)?;
    checks::only(place, fields, known, &[])?;
    let Some(format) = fields.get("format").filter(|format| !format.is_null()) else { return Ok(()) };
    let place = format!("{place}.format");
    match format.get("type").and_then(Value::as_str) {
        None => Err(ApiError::missing(&format!("{place}.type"))),
        Some("text" | "grammar") => Ok(()),
        Some(other) => Err(ApiError::wrong_value(&format!("{place}.type"), other, &["grammar", "text"])),
    }
}

/// Rejects a tool choice that names an unknown tool.
pub(crate) fn chosen(name: &str, tools: &[&str]) -> Result<(), ApiError> {
    if tools.contains(&name) {
        return Ok(());
    }
    Err(ApiError::bad(format!("Tool choice '{name}' not found in 'tools' parameter.")).param("tool_choice"))
}

/// Checks the fields of a JSON schema response format at `place`; `also` lists additional fields.
pub(crate) fn format(place: &str, fields: &Map<String, Value>, also: &[&str]) -> Result<(), ApiError> {
    for name in ["name", "schema"] {
        if !fields.contains_key(name) {
            return Err(ApiError::missing(&format!("{place}.{name}")));
        }
    }
    let known: Vec<&str> = FORMAT.iter().map(|(name, _)| *name).chain(also.iter().copied()).collect();
    checks::only(place, fields, &known, &[])?;
    for (field, shape) in FORMAT {
        if let Some(value) = fields.get(*field).filter(|value| !value.is_null()) {
            checks::shape(&format!("{place}.{field}"), shape, value)?;
        }
    }
    let name = name(&format!("{place}.name"), fields)?;
    if fields.get("strict") == Some(&Value::Bool(true)) {
        let schema = fields.get("schema").unwrap_or(&Value::Null);
        schema::strict(&format!("{place}.schema"), &format!("response_format '{name}'"), schema)?;
    }
    Ok(())
}

//! OpenAI's checks of tools, `tool_choice` and response formats, shared by its endpoints.

use serde_json::{Map, Value};

use super::checks::{self, Shape, Shape::*};
use super::error::ApiError;
use super::schema;

const NAME_BYTES_MAX: usize = 64;
const FORMAT: &[(&str, Shape)] =
    &[("name", Text), ("schema", Object), ("strict", Flag), ("description", Text)];

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
        .at(path, "invalid_value"));
    }
    Ok(name)
}

/// Checks a function's fields at `param`: its name, and its parameters, which must be a strict schema where
/// it is strict.
pub(crate) fn function(param: &str, fields: &Map<String, Value>, known: &[&str]) -> Result<(), ApiError> {
    let name = name(&format!("{param}.name"), fields)?;
    checks::only(param, fields, known, &[])?;
    for (field, shape) in [("description", Text), ("strict", Flag)] {
        if let Some(value) = fields.get(field).filter(|value| !value.is_null()) {
            checks::shape(&format!("{param}.{field}"), &shape, value)?;
        }
    }
    let (param, owner) = (format!("{param}.parameters"), format!("function '{name}'"));
    let parameters = fields.get("parameters").filter(|parameters| !parameters.is_null());
    parameters.map_or(Ok(()), |parameters| schema::of_object(&param, &owner, parameters))?;
    match fields.get("strict") {
        Some(Value::Bool(true)) => schema::strict(&param, &owner, parameters.unwrap_or(&Value::Null)),
        _ => Ok(()),
    }
}

/// Checks a custom tool, which takes free text, optionally constrained by a grammar.
pub(crate) fn custom(param: &str, fields: &Map<String, Value>, known: &[&str]) -> Result<(), ApiError> {
    name(&format!("{param}.name"), fields)?;
    checks::only(param, fields, known, &[])?;
    let Some(format) = fields.get("format").filter(|format| !format.is_null()) else { return Ok(()) };
    let param = format!("{param}.format");
    match format.get("type").and_then(Value::as_str) {
        None => Err(ApiError::missing(&format!("{param}.type"))),
        Some("text" | "grammar") => Ok(()),
        Some(other) => Err(ApiError::wrong_value(&format!("{param}.type"), other, &["grammar", "text"])),
    }
}

/// Rejects a tool choice that names an unknown tool.
pub(crate) fn check_choice(name: &str, tools: &[&str]) -> Result<(), ApiError> {
    if tools.contains(&name) {
        return Ok(());
    }
    Err(ApiError::bad(format!("Tool choice '{name}' not found in 'tools' parameter.")).param("tool_choice"))
}

/// Checks the fields of a JSON schema response format at `param`; `also` lists additional fields.
pub(crate) fn format(param: &str, fields: &Map<String, Value>, also: &[&str]) -> Result<(), ApiError> {
    for name in ["name", "schema"] {
        if !fields.contains_key(name) {
            return Err(ApiError::missing(&format!("{param}.{name}")));
        }
    }
    let known: Vec<&str> = FORMAT.iter().map(|(name, _)| *name).chain(also.iter().copied()).collect();
    checks::only(param, fields, &known, &[])?;
    for (field, shape) in FORMAT {
        if let Some(value) = fields.get(*field).filter(|value| !value.is_null()) {
            checks::shape(&format!("{param}.{field}"), shape, value)?;
        }
    }
    let name = name(&format!("{param}.name"), fields)?;
    if fields.get("strict") == Some(&Value::Bool(true)) {
        let schema = fields.get("schema").unwrap_or(&Value::Null);
        schema::strict(&format!("{param}.schema"), &format!("response_format '{name}'"), schema)?;
    }
    Ok(())
}

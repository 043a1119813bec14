//! Readers for the fields that most requests have: model, tools and service tier.

use domain::limits::MODEL_NAME_BYTES_MAX;
use domain::{Fault, HostedTool, HostedTools, Tier};
use json::refusal::{wrong_type, wrong_value};
use json::{Cursor, JsonError, Kind, Value};

use crate::request::Request;

/// The service tier with this name. Values that are not strings are for the upstream to refuse.
pub fn optional_tier(cursor: &mut Cursor<'_>) -> Result<Option<Tier>, JsonError> {
    match cursor.value()? {
        Value::String(word) => Ok(Tier::from_word(&word.decode())),
        _ => Ok(None),
    }
}

/// The size of a tool list in bytes; hosted tools, which the provider runs, are recognised by their `type`
/// and recorded.
pub fn read_tools(
    cursor: &mut Cursor<'_>,
    hosted: &mut HostedTools,
    tool_of: impl Fn(&str) -> Option<HostedTool>,
) -> Result<u64, JsonError> {
    if cursor.kind()? != Kind::Array {
        return Ok(cursor.skip()?.len() as u64);
    }
    let span = cursor.array(|cursor, _| {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        cursor.object(|cursor, member| {
            if !member.key.is("type") {
                return cursor.ignore();
            }
            if let Value::String(word) = cursor.value()?
                && let Some(tool) = tool_of(&word.decode())
            {
                hosted.add(tool);
            }
            Ok::<(), JsonError>(())
        })?;
        Ok::<(), JsonError>(())
    })?;
    Ok(span.len() as u64)
}

/// Reads the model's name and records its span.
pub fn read_model(cursor: &mut Cursor<'_>, request: &mut Request) -> Result<(), Box<Fault>> {
    let kind = cursor.kind()?;
    let Value::String(text) = cursor.value()? else {
        return Err(wrong_type("model".to_owned(), "a string", kind));
    };
    request.spans.model = Some(text.span);
    request.model = checked_model(&text.decode())?;
    Ok(())
}

/// Validates a model's name.
pub fn checked_model(model: &str) -> Result<String, Box<Fault>> {
    let what = if model.is_empty() {
        "is empty"
    } else if model.len() > MODEL_NAME_BYTES_MAX {
        "is longer than any model's name"
    } else if model.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Ok(model.to_owned());
    };
    let fix = "Send the id of a model as GET /v1/models lists it.".to_owned();
    Err(wrong_value("model".to_owned(), what, fix))
}

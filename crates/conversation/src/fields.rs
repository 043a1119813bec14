//! Readers for the fields that most requests have: model, tools and service tier.

use domain::limits::MODEL_NAME_BYTES_MAX;
use domain::{Fault, HostedTool, Tier};
use json::refusal::{wrong_type, wrong_value};
use json::{Cursor, JsonError, Kind, Value};

use crate::request::Request;
use crate::traits::has_elements;

/// The service tier with this name. Values that are not strings are for the upstream to refuse.
pub fn optional_tier(cursor: &mut Cursor<'_>) -> Result<Option<Tier>, JsonError> {
    match cursor.value()? {
        Value::String(word) => Ok(Tier::from_word(&word.decode())),
        _ => Ok(None),
    }
}

/// Counts a tool list as a part of the prompt; hosted tools, which the provider runs, are recognised by their `type`
/// and recorded.
pub fn read_tools(
    cursor: &mut Cursor<'_>,
    request: &mut Request,
    tool_of: impl Fn(&str) -> Option<HostedTool>,
) -> Result<(), JsonError> {
    if cursor.kind()? != Kind::Array {
        request.prompt_bytes += cursor.skip()?.len() as u64;
        return Ok(());
    }
    let span = cursor.array(|cursor, _| {
        request.has_tools = true;
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
                request.terms.hosted.add(tool);
            }
            Ok::<(), JsonError>(())
        })?;
        Ok::<(), JsonError>(())
    })?;
    request.prompt_bytes += span.len() as u64;
    Ok(())
}

/// The same of tools that the provider can't run: a list, or an object with one.
pub fn read_own_tools(cursor: &mut Cursor<'_>, request: &mut Request) -> Result<(), JsonError> {
    cursor.kind()?;
    let start = cursor.position();
    request.has_tools |= has_elements(cursor)?;
    request.prompt_bytes += cursor.position().saturating_sub(start) as u64;
    Ok(())
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

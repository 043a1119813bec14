//! Readers for request fields of one type each, or `null`.

use domain::limits::MODEL_NAME_BYTES_MAX;
use domain::{Fault, HostedTool, HostedTools, Tier};

use crate::Request;
use crate::json::{Cursor, JsonError, Kind, Span, Value};
use crate::refusal::{empty, no_object, too_small, wrong_type, wrong_value};

/// Refuses an empty body.
pub(crate) fn not_empty(body: &[u8]) -> Result<(), Box<Fault>> {
    if body.iter().all(u8::is_ascii_whitespace) { Err(empty()) } else { Ok(()) }
}

/// Opens a body that must be an object. Any other value is validated to its end first, so that broken JSON is
/// reported as such.
pub(crate) fn open_object(body: &[u8]) -> Result<Cursor<'_>, Box<Fault>> {
    let mut cursor = Cursor::new(body)?;
    let kind = cursor.kind()?;
    if kind == Kind::Object {
        return Ok(cursor);
    }
    cursor.skip()?;
    cursor.end()?;
    Err(no_object(kind))
}

/// A boolean, or `null` for its absence.
pub(crate) fn optional_boolean(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<bool>, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::Boolean(truth) => Ok(Some(truth)),
        _ => Err(wrong_type(name.to_owned(), "a boolean", kind)),
    }
}

/// A whole number from 0, or `null` for its absence.
pub(crate) fn optional_count(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<u64>, Box<Fault>> {
    let kind = cursor.kind()?;
    let value = cursor.value()?;
    match (value, value.as_count()) {
        (Value::Null, _) => Ok(None),
        (_, Some(count)) => Ok(Some(count)),
        (Value::Number(number), None) if is_negative(number) => Err(too_small(name.to_owned(), 0)),
        (Value::Number(_), None) => {
            let fix = format!("Send a whole number from 0 in \"{name}\".");
            Err(wrong_value(name.to_owned(), "is not a whole number from 0", fix))
        }
        _ => Err(wrong_type(name.to_owned(), "a whole number", kind)),
    }
}

fn is_negative(number: &str) -> bool {
    let digits = number.strip_prefix('-');
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A string, or `null` for its absence.
pub(crate) fn optional_text(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<Span>, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.span)),
        _ => Err(wrong_type(name.to_owned(), "a string", kind)),
    }
}

/// The service tier with this name. Values that are not strings are for the upstream to refuse.
pub(crate) fn optional_tier(cursor: &mut Cursor<'_>) -> Result<Option<Tier>, JsonError> {
    match cursor.value()? {
        Value::String(word) => Ok(Tier::from_word(&word.decode())),
        _ => Ok(None),
    }
}

/// The size of a tool list in bytes; hosted tools, which the provider runs, are recognised by their `type`
/// and recorded.
pub(crate) fn read_tools(
    cursor: &mut Cursor<'_>,
    hosted: &mut HostedTools,
    tool_of: impl Fn(&str) -> Option<HostedTool>,
) -> Result<u64, JsonError> {
    if cursor.kind()? != Kind::Array {
        return Ok(cursor.skip()?.len() as u64);
    }
    let span = cursor.array(|cursor, _| {
        if cursor.kind()? != Kind::Object {
            return cursor.skip().map(|_| ());
        }
        cursor.object(|cursor, member| {
            if !member.key.is("type") {
                return cursor.skip().map(|_| ());
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
pub(crate) fn read_model(cursor: &mut Cursor<'_>, request: &mut Request) -> Result<(), Box<Fault>> {
    let kind = cursor.kind()?;
    let Value::String(text) = cursor.value()? else {
        return Err(wrong_type("model".to_owned(), "a string", kind));
    };
    request.model_value = Some(text.span);
    request.model = checked_model(&text.decode())?;
    Ok(())
}

/// Validates a model's name.
pub(crate) fn checked_model(model: &str) -> Result<String, Box<Fault>> {
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

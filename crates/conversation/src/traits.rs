//! What a request's body says beyond what every request needs: whether it offers tools, and its metadata. Read only where a
//! route asks.

use domain::RequestTraits;
use domain::limits::{CONDITION_TEXT_BYTES_MAX, REQUEST_METADATA_READ_MAX};
use json::{Cursor, JsonError, Kind, Span, Value};

use crate::request::Request;

/// The members in which formats have their tools: a list, or an object with one.
const TOOLS: [&str; 3] = ["tools", "functions", "toolConfig"];
/// The members in which they have their metadata.
const METADATA: [&str; 3] = ["metadata", "requestMetadata", "labels"];

/// The traits of a request that was decoded before. A body that is no JSON has none.
pub fn read_traits(request: &Request, body: &[u8]) -> RequestTraits {
    let mut traits = RequestTraits { end_user: request.end_user(body), ..RequestTraits::default() };
    if let Ok(mut cursor) = Cursor::new(body)
        && cursor.kind().is_ok_and(|kind| kind == Kind::Object)
        && read_members(&mut cursor, &mut traits).is_err()
    {
        traits.metadata.clear();
    }
    traits
}

fn read_members(cursor: &mut Cursor<'_>, traits: &mut RequestTraits) -> Result<Span, JsonError> {
    cursor.object(|cursor, member| {
        let name = member.key.decode();
        if TOOLS.contains(&&*name) {
            traits.has_tools |= has_elements(cursor)?;
        } else if METADATA.contains(&&*name) && cursor.kind()? == Kind::Object {
            read_metadata(cursor, &mut traits.metadata)?;
        } else {
            cursor.ignore()?;
        }
        Ok::<(), JsonError>(())
    })
}

/// Whether a list, or one within an object, has elements.
pub(crate) fn has_elements(cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
    let mut found = false;
    match cursor.kind()? {
        Kind::Array => {
            cursor.array(|cursor, _| {
                found = true;
                cursor.ignore()
            })?;
        }
        Kind::Object => {
            cursor.object(|cursor, member| {
                if member.key.is("tools") && cursor.kind()? == Kind::Array {
                    cursor.array(|cursor, _| {
                        found = true;
                        cursor.ignore()
                    })?;
                    return Ok(());
                }
                cursor.ignore()
            })?;
        }
        _ => cursor.ignore()?,
    }
    Ok(found)
}

/// Texts, and numbers and truths as they are written. Others, and what is too long to be compared, are left out.
fn read_metadata(cursor: &mut Cursor<'_>, metadata: &mut Vec<(String, String)>) -> Result<(), JsonError> {
    cursor.object(|cursor, member| {
        let name = member.key.decode().into_owned();
        let value = match cursor.value()? {
            Value::String(text) => text.decode().into_owned(),
            Value::Number(text) => text.to_owned(),
            Value::Boolean(truth) => truth.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return Ok(()),
        };
        let is_short = name.len() <= CONDITION_TEXT_BYTES_MAX && value.len() <= CONDITION_TEXT_BYTES_MAX;
        if is_short && metadata.len() < REQUEST_METADATA_READ_MAX {
            metadata.push((name, value));
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(())
}

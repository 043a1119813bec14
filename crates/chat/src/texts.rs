//! Reads text inputs that are not a conversation: checks their shape and counts their bytes.

use domain::Fault;
use json::refusal::{wrong_type, wrong_value};
use json::{Cursor, Kind, Value};

/// Bytes counted for each token id, where a text is sent as tokens.
const BYTES_PER_TOKEN: u64 = 4;

/// The length of one text.
pub(super) struct Length {
    pub bytes: u64,
    pub characters: u64,
}

/// One text.
pub(super) fn read_one(cursor: &mut Cursor<'_>, name: &str) -> Result<Length, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::String(text) => {
            let text = text.decode();
            Ok(Length { bytes: text.len() as u64, characters: text.chars().count() as u64 })
        }
        _ => Err(wrong_type(name.to_owned(), "a string", kind)),
    }
}

/// A string, tokens, or an array of either. Other items are for the upstream to judge.
pub(super) fn read(cursor: &mut Cursor<'_>, name: &str) -> Result<u64, Box<Fault>> {
    let kind = cursor.kind()?;
    if kind != Kind::Array {
        return match cursor.value()? {
            Value::String(text) => Ok(text.decoded_len() as u64),
            _ => Err(wrong_type(name.to_owned(), "a string or an array", kind)),
        };
    }
    let mut bytes = 0;
    let mut count = 0;
    cursor.array(|cursor, _| {
        count += 1;
        if cursor.kind()? == Kind::Array {
            cursor.array(|cursor, _| {
                cursor.skip()?;
                bytes += BYTES_PER_TOKEN;
                Ok::<(), Box<Fault>>(())
            })?;
            return Ok(());
        }
        bytes += match cursor.value()? {
            Value::String(text) => text.decoded_len() as u64,
            Value::Number(_) => BYTES_PER_TOKEN,
            Value::Object(span) => span.len() as u64,
            _ => 0,
        };
        Ok::<(), Box<Fault>>(())
    })?;
    if count == 0 {
        return Err(wrong_value(name.to_owned(), "is empty", "Send at least one string.".to_owned()));
    }
    Ok(bytes)
}

//! Texts that are no conversation: their form is checked, their bytes counted.

use domain::Fault;

use crate::json::{Cursor, Kind, Value};
use crate::refusal::{wrong_type, wrong_value};

/// What a token stands for, where a text is sent as the numbers of its tokens.
const BYTES_PER_TOKEN: u64 = 4;

/// A text, tokens, or an array of either. Parts of other kinds are the upstream's to judge.
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
        return Err(wrong_value(name.to_owned(), "is empty", "Send at least one text.".to_owned()));
    }
    Ok(bytes)
}

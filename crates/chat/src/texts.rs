//! Reads text inputs that are not a conversation: checks their shape and counts their bytes.

use domain::Fault;
use json::refusal::{wrong_type, wrong_value};
use json::{Cursor, Kind, Value};

/// Bytes counted for each token id, where a text is sent as tokens.
const BYTES_PER_TOKEN: u64 = 4;

/// Providers that bill searches count this many texts as one, and a longer text as several.
const TEXTS_OF_A_SEARCH: u64 = 100;
const BYTES_OF_A_TEXT: u64 = 500;

/// The length of one text.
pub(super) struct Length {
    pub bytes: u64,
    pub characters: u64,
}

/// The documents to rerank.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Documents {
    pub count: u64,
    pub bytes: u64,
}

impl Documents {
    /// An upper bound of the billed searches: no token is shorter than a byte.
    pub(super) const fn searches_max(self, bytes: u64) -> u64 {
        self.count.saturating_add(bytes / BYTES_OF_A_TEXT).div_ceil(TEXTS_OF_A_SEARCH)
    }
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

/// Strings, or objects with text in them.
pub(super) fn read_documents(cursor: &mut Cursor<'_>, name: &str) -> Result<Documents, Box<Fault>> {
    let kind = cursor.kind()?;
    if kind != Kind::Array {
        cursor.skip()?;
        return Err(wrong_type(name.to_owned(), "an array", kind));
    }
    let mut documents = Documents::default();
    cursor.array(|cursor, _| {
        let kind = cursor.kind()?;
        documents.bytes += match cursor.value()? {
            Value::String(text) => text.decoded_len() as u64,
            Value::Object(span) => span.len() as u64,
            _ => {
                let path = format!("{name}[{}]", documents.count);
                return Err(wrong_type(path, "a string or an object", kind));
            }
        };
        documents.count += 1;
        Ok::<(), Box<Fault>>(())
    })?;
    if documents.count == 0 {
        return Err(wrong_value(name.to_owned(), "is empty", "Send at least one text.".to_owned()));
    }
    Ok(documents)
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
        return Err(wrong_value(name.to_owned(), "is empty", "Send at least one text.".to_owned()));
    }
    Ok(bytes)
}

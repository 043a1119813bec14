//! Isolates workspaces that share a provider's prompt cache: each one's own line is put first in the
//! instructions, so that their prompts never share a prefix.

use conversation::face::{Instructions, SaltPlace, text_block};
use conversation::request::Insert;
use domain::Grammar;
use json::{Cursor, JsonError, Kind, Span, Value};

use crate::prefix;
use crate::prefix::CACHE_KEY;
use crate::registry::face;

/// What sets a workspace's prompts apart.
pub struct CacheSalt<'a> {
    /// The salt; it needs no escapes.
    pub word: &'a str,
    /// Derives the cache key that the provider is sent from the client's own; the result needs no escapes.
    pub key: &'a dyn Fn(&str) -> String,
}

/// Salts a request that was decoded before.
///
/// Responses repeats its instructions to the client, so there the salt goes into `prompt_cache_key`.
/// `has_key` says that another insert already sets that key.
pub fn salt_cache(grammar: Grammar, body: &[u8], salt: &CacheSalt<'_>, has_key: bool) -> Vec<Insert> {
    let read = match face(grammar).facts().salt {
        SaltPlace::Messages => messages(body, salt.word),
        SaltPlace::Instructions(field) => instructions(body, &field, &line(salt.word)),
        SaltPlace::CacheKey => key(body, salt, has_key),
    };
    // A body that can't be read here is reported by its next reader.
    read.ok().flatten().into_iter().collect()
}

fn line(word: &str) -> String {
    format!("[cache {word}]")
}

/// Inserts the line before a string's text, after its quotation mark.
fn before_text(text: Span, line: &str) -> Insert {
    Insert::at(text.start + 1, format!("{line}\\n"))
}

/// Inserts a first element into an array.
fn first(array: Span, is_empty: bool, element: &str) -> Insert {
    let comma = if is_empty { "" } else { "," };
    Insert::at(array.start + 1, format!("{element}{comma}"))
}

/// The value found in the place of the instructions.
#[derive(Clone, Copy)]
enum FieldValue {
    Nothing,
    Null(Span),
    Text(Span),
    List {
        span: Span,
        is_empty: bool,
    },
    /// A value that the line can't be added to.
    Other,
}

fn read_value(cursor: &mut Cursor<'_>) -> Result<FieldValue, JsonError> {
    Ok(match cursor.kind()? {
        Kind::Null => FieldValue::Null(cursor.skip()?),
        Kind::String => FieldValue::Text(cursor.skip()?),
        Kind::Array => {
            let mut is_empty = true;
            let span = cursor.array(|cursor, _| {
                is_empty = false;
                cursor.skip().map(drop)
            })?;
            FieldValue::List { span, is_empty }
        }
        _ => {
            cursor.skip()?;
            FieldValue::Other
        }
    })
}

/// The value of an object's member.
fn read_member(cursor: &mut Cursor<'_>, name: &str) -> Result<FieldValue, JsonError> {
    let mut inside = FieldValue::Other;
    cursor.object(|cursor, member| {
        if !member.key.is(name) {
            return cursor.skip().map(drop);
        }
        inside = read_value(cursor)?;
        Ok(())
    })?;
    Ok(inside)
}

fn instructions(body: &[u8], field: &Instructions, line: &str) -> Result<Option<Insert>, JsonError> {
    let mut found = FieldValue::Nothing;
    let whole = Cursor::new(body)?.object(|cursor, member| {
        if !member.key.is(field.name) && !member.key.is(field.alias) {
            return cursor.skip().map(drop);
        }
        found = match field.inner {
            Some(inner) if cursor.kind()? == Kind::Object => read_member(cursor, inner)?,
            _ => read_value(cursor)?,
        };
        Ok(())
    })?;
    Ok(match found {
        FieldValue::Text(text) => Some(before_text(text, line)),
        FieldValue::List { span, is_empty } => Some(first(span, is_empty, &(field.block)(line))),
        FieldValue::Nothing => {
            Some(Insert::at(whole.start + 1, format!("\"{}\":{},", field.name, (field.value)(line))))
        }
        FieldValue::Null(span) => Some(Insert::instead(span, (field.value)(line))),
        FieldValue::Other => None,
    })
}

/// In Chat Completions the instructions are the first message, if its role is `system` or `developer`.
fn messages(body: &[u8], word: &str) -> Result<Option<Insert>, JsonError> {
    let line = line(word);
    let (mut messages, mut instructions) = (None, None);
    Cursor::new(body)?.object(|cursor, member| {
        if !member.key.is("messages") || cursor.kind()? != Kind::Array {
            return cursor.skip().map(drop);
        }
        messages = Some(cursor.array(|cursor, number| {
            if number == 0 && cursor.kind()? == Kind::Object {
                instructions = leading(cursor)?;
                return Ok(());
            }
            cursor.skip().map(drop)
        })?);
        Ok(())
    })?;
    Ok(match (instructions, messages) {
        (Some(FieldValue::Text(text)), _) => Some(before_text(text, &line)),
        (Some(FieldValue::List { span, is_empty }), _) => Some(first(span, is_empty, &text_block(&line))),
        (_, Some(messages)) => {
            let message = format!(r#"{{"role":"system","content":"{line}"}}"#);
            Some(first(messages, false, &message))
        }
        (_, None) => None,
    })
}

/// The content of a message, if it is an instruction.
fn leading(cursor: &mut Cursor<'_>) -> Result<Option<FieldValue>, JsonError> {
    let (mut is_instruction, mut content) = (false, None);
    cursor.object(|cursor, member| {
        if member.key.is("role") {
            is_instruction = prefix::is_instruction(cursor)?;
        } else if member.key.is("content") {
            content = Some(read_value(cursor)?);
        } else {
            cursor.skip()?;
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(content.filter(|_| is_instruction))
}

fn key(body: &[u8], salt: &CacheSalt<'_>, has_key: bool) -> Result<Option<Insert>, JsonError> {
    let (mut found, mut own) = (FieldValue::Nothing, None);
    let whole = Cursor::new(body)?.object(|cursor, member| {
        if !member.key.is(CACHE_KEY) {
            return cursor.skip().map(drop);
        }
        if cursor.kind()? == Kind::String {
            let start = cursor.position();
            if let Value::String(text) = cursor.value()? {
                own = Some((Span::new(start, cursor.position()), text.decode().into_owned()));
            }
            return Ok(());
        }
        found = read_value(cursor)?;
        Ok(())
    })?;
    Ok(match (own, found) {
        (Some((span, text)), _) => Some(Insert::instead(span, format!("\"{}\"", (salt.key)(&text)))),
        (None, FieldValue::Null(span)) => Some(Insert::instead(span, format!("\"{}\"", (salt.key)("")))),
        (None, FieldValue::Nothing) if !has_key => {
            Some(Insert::at(whole.start + 1, format!("\"{CACHE_KEY}\":\"{}\",", (salt.key)(""))))
        }
        (None, _) => None,
    })
}

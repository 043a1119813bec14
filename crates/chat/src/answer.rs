//! Reads a buffered (non-streaming) Chat Completions response.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use domain::Usage;
use framing::sse::{begins_stream, skip_lead};
use json::splice::splice;
use json::{Cursor, JsonError, Kind, Value};

use super::chunk::Reading;

/// The fault for a response body that is an event stream.
pub(super) const STREAM_FOR_ANSWER: &str = "stream_for_answer";

/// Reads the body of a response with status 200.
///
/// # Errors
/// The body is not a completion: an error in a 200, HTML, nothing at all, or truncated JSON.
pub fn read_answer(body: &Bytes) -> Result<AnswerFacts, StreamFault> {
    let text = skip_lead(body);
    match text.first() {
        None => return Err(StreamFault::Broken("empty")),
        Some(b'{') => {}
        Some(b'<') => return Err(StreamFault::Broken("html")),
        Some(_) if begins_stream(text) == Some(true) => {
            return Err(StreamFault::Broken(STREAM_FOR_ANSWER));
        }
        Some(_) => {}
    }
    let mut reading = Reading::of_counts();
    if !reading.read(text, &mut Vec::new())?.has_choices {
        return Err(StreamFault::Broken("not_a_completion"));
    }
    // Zeros count as reported usage only where the answer has no text.
    let is_count = |usage: &Usage| usage.prompt_total() > 0 || usage.completion_total() > 0;
    if let Some(usage) = reading.usage().filter(is_count) {
        return Ok(AnswerFacts { usage: Some(usage), content_bytes: 0 });
    }
    reading = Reading::default();
    reading.read(text, &mut Vec::new())?;
    Ok(AnswerFacts { usage: reading.usage(), content_bytes: reading.content_bytes })
}

/// The body as it came, except for what SDKs can't read: tool-call arguments that are not a string.
pub(super) fn mend(body: Bytes) -> Result<Bytes, StreamFault> {
    let text = skip_lead(&body);
    let text = body.slice(body.len() - text.len()..);
    let mut edits = Vec::new();
    Reading::of_whole().read(&text, &mut edits)?;
    if edits.is_empty() {
        return Ok(body);
    }
    let mut pieces = Vec::new();
    splice(&text, &mut edits, &mut pieces);
    Ok(Bytes::from(pieces.concat()))
}

/// The full text of the first choice; `None` where the body is not a completion or has no text.
pub fn answer_text(body: &Bytes) -> Option<String> {
    read_text(body).ok().flatten()
}

fn read_text(body: &[u8]) -> Result<Option<String>, JsonError> {
    let mut text = None;
    Cursor::new(body)?.object(|cursor, member| {
        if !member.key.is("choices") || cursor.kind()? != Kind::Array {
            return cursor.ignore();
        }
        cursor.array(|cursor, index| {
            if index > 0 || cursor.kind()? != Kind::Object {
                return cursor.ignore();
            }
            cursor.object(|cursor, member| {
                if !member.key.is("message") || cursor.kind()? != Kind::Object {
                    return cursor.ignore();
                }
                read_message(cursor, &mut text)
            })?;
            Ok(())
        })?;
        Ok::<(), JsonError>(())
    })?;
    Ok(text)
}

fn read_message(cursor: &mut Cursor<'_>, text: &mut Option<String>) -> Result<(), JsonError> {
    cursor.object(|cursor, member| {
        if !member.key.is("content") {
            return cursor.ignore();
        }
        if cursor.kind()? == Kind::Array {
            let mut joined = String::new();
            cursor.array(|cursor, _| read_part(cursor, &mut joined))?;
            *text = Some(joined);
        } else if let Value::String(content) = cursor.value()? {
            *text = Some(content.decode().into_owned());
        }
        Ok(())
    })?;
    Ok(())
}

fn read_part(cursor: &mut Cursor<'_>, joined: &mut String) -> Result<(), JsonError> {
    if cursor.kind()? != Kind::Object {
        return cursor.ignore();
    }
    cursor.object(|cursor, member| {
        match cursor.value()? {
            Value::String(text) if member.key.is("text") => joined.push_str(&text.decode()),
            _ => {}
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(())
}

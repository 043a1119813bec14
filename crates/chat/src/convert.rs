//! Turns a buffered response into a stream, for servers that answer a streaming request with one.

use json::{Cursor, JsonError, Kind, Span};

use super::encode::DONE;

/// The spans of one choice's members.
#[derive(Debug, Clone, Copy, Default)]
struct Choice {
    index: Option<Span>,
    message: Option<Span>,
    logprobs: Option<Span>,
    finish_reason: Option<Span>,
}

/// The chunks that say the same as `answer`, ending with `[DONE]`. Every value is the server's own text.
pub(super) fn into_stream(answer: &[u8], with_usage: bool) -> Result<Vec<u8>, JsonError> {
    let mut head = Vec::new();
    let mut choices = Vec::new();
    let mut usage = None;
    Cursor::new(answer)?.object(|cursor, member| {
        let name = member.key.decode();
        match &*name {
            "choices" if cursor.kind()? == Kind::Array => {
                cursor.array(|cursor, _| {
                    choices.push(read_choice(cursor)?);
                    Ok::<(), JsonError>(())
                })?;
            }
            "usage" if cursor.kind()? == Kind::Object => usage = Some(cursor.skip()?),
            "id" | "created" | "model" | "system_fingerprint" | "service_tier" => {
                let value = cursor.skip()?;
                put(&mut head, &format!("\"{name}\":"), value.of(answer), ",");
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<(), JsonError>(())
    })?;
    let mut out = Vec::with_capacity(answer.len() + 512);
    for (position, choice) in choices.iter().enumerate() {
        let index =
            choice.index.map_or_else(|| position.to_string().into_bytes(), |span| span.of(answer).to_vec());
        begin(&mut out, &head);
        put(&mut out, "\"choices\":[{\"index\":", &index, ",");
        put(&mut out, "\"delta\":", choice.message.map_or(b"{}", |span| span.of(answer)), ",");
        if let Some(logprobs) = choice.logprobs {
            put(&mut out, "\"logprobs\":", logprobs.of(answer), ",");
        }
        put(&mut out, "\"finish_reason\":null}]", null_usage(with_usage), "}\n\n");
        begin(&mut out, &head);
        put(&mut out, "\"choices\":[{\"index\":", &index, ",\"delta\":{},");
        put(
            &mut out,
            "\"finish_reason\":",
            choice.finish_reason.map_or(b"null", |span| span.of(answer)),
            "}]",
        );
        put(&mut out, "", null_usage(with_usage), "}\n\n");
    }
    if let Some(usage) = usage.filter(|_| with_usage) {
        begin(&mut out, &head);
        put(&mut out, "\"choices\":[],\"usage\":", usage.of(answer), "}\n\n");
    }
    out.extend_from_slice(DONE);
    Ok(out)
}

fn read_choice(cursor: &mut Cursor<'_>) -> Result<Choice, JsonError> {
    let mut choice = Choice::default();
    if cursor.kind()? != Kind::Object {
        cursor.skip()?;
        return Ok(choice);
    }
    cursor.object(|cursor, member| {
        let kind = cursor.kind()?;
        let value = cursor.skip()?;
        match (&*member.key.decode(), kind) {
            ("index", Kind::Number) => choice.index = Some(value),
            ("message", Kind::Object) => choice.message = Some(value),
            ("logprobs", Kind::Object) => choice.logprobs = Some(value),
            ("finish_reason", Kind::String) => choice.finish_reason = Some(value),
            _ => {}
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(choice)
}

fn begin(out: &mut Vec<u8>, head: &[u8]) {
    out.extend_from_slice(b"data: {\"object\":\"chat.completion.chunk\",");
    out.extend_from_slice(head);
}

const fn null_usage(with_usage: bool) -> &'static [u8] {
    if with_usage { b",\"usage\":null" } else { b"" }
}

/// A line feed in JSON is whitespace between values, and would end the `data:` line.
fn put(out: &mut Vec<u8>, before: &str, value: &[u8], after: &str) {
    out.extend_from_slice(before.as_bytes());
    out.extend(value.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    out.extend_from_slice(after.as_bytes());
}

//! Parses Converse events and responses into the pieces that the reader needs. Most are objects whose only
//! member names their kind.

use domain::prompt::Json;
use json::{Cursor, JsonError, Kind, Span, Value};

/// The content of a delta.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ContentDelta {
    Text(String),
    /// A piece of a tool call's arguments.
    Input(String),
    Thought(String),
    Seal(String),
    /// Encrypted reasoning that only its provider can read.
    Redacted(String),
    Citation(Json),
    /// Content that has no place in a response.
    Other,
}

/// A content block: as it starts in a stream, or complete in a buffered response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Deltas of one kind, all at once.
    Deltas(Vec<ContentDelta>),
    /// `input` is set in a buffered response only.
    Call { id: String, name: String, input: Option<String> },
    /// Media, and calls of tools that the upstream runs itself.
    Foreign { kind: String, json: Json },
}

/// A buffered response.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// `None` if the body has no message.
    pub content: Option<Span>,
    pub stop: Option<String>,
    pub usage: Option<Span>,
    pub tier: Option<Span>,
}

/// Reads an event's `contentBlockIndex`, and its member `name` if that is an object.
pub(super) fn read_numbered(data: &[u8], name: &str) -> Result<(u64, Option<Span>), JsonError> {
    let (mut index, mut found) = (0, None);
    members(data, |key, value| {
        match value {
            Value::Object(span) if key == name => found = Some(span),
            value if key == "contentBlockIndex" => index = value.as_count().unwrap_or(0),
            _ => {}
        }
        Ok(())
    })?;
    Ok((index, found))
}

/// Reads the member `name` if it is a string.
pub(super) fn read_text(data: &[u8], name: &str) -> Result<Option<String>, JsonError> {
    let mut found = None;
    members(data, |key, value| {
        if let Value::String(text) = value
            && key == name
        {
            found = Some(text.decode().into_owned());
        }
        Ok(())
    })?;
    Ok(found)
}

impl ContentDelta {
    pub(super) fn read(delta: &[u8]) -> Result<Self, JsonError> {
        let mut piece = Self::Other;
        members(delta, |key, value| {
            match (key, value) {
                ("text", Value::String(text)) => piece = Self::Text(text.decode().into_owned()),
                ("toolUse", Value::Object(span)) => {
                    piece = read_text(span.of(delta), "input")?.map_or(Self::Other, Self::Input);
                }
                ("reasoningContent", Value::Object(span)) => piece = read_thought(span.of(delta))?,
                ("citation", Value::Object(span)) => piece = Self::Citation(raw(delta, span)),
                _ => {}
            }
            Ok(())
        })?;
        Ok(piece)
    }
}

fn read_thought(json: &[u8]) -> Result<ContentDelta, JsonError> {
    let mut piece = ContentDelta::Other;
    members(json, |key, value| {
        if let Value::String(text) = value {
            let text = text.decode().into_owned();
            match key {
                "text" => piece = ContentDelta::Thought(text),
                "signature" => piece = ContentDelta::Seal(text),
                "redactedContent" => piece = ContentDelta::Redacted(text),
                _ => {}
            }
        }
        Ok(())
    })?;
    Ok(piece)
}

impl Block {
    /// Returns `None` for an object without a kind.
    pub(super) fn read(json: &[u8]) -> Result<Option<Self>, JsonError> {
        let mut block = None;
        members(json, |key, value| {
            match (key, value) {
                (_, Value::Null) => {}
                ("text", Value::String(text)) => {
                    block = Some(Self::Deltas(vec![ContentDelta::Text(text.decode().into_owned())]));
                }
                ("reasoningContent", Value::Object(span)) => block = Some(whole_thought(span.of(json))?),
                ("citationsContent", Value::Object(span)) => block = Some(cited_text(span.of(json))?),
                ("toolUse", Value::Object(span)) => block = Some(call(span.of(json))?),
                (kind, Value::Object(span)) => {
                    block = Some(Self::Foreign { kind: kind.to_owned(), json: raw(json, span) });
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(block)
    }
}

fn call(json: &[u8]) -> Result<Block, JsonError> {
    let (mut id, mut name, mut input, mut is_own) = (String::new(), String::new(), None, true);
    members(json, |key, value| {
        match (key, value) {
            ("toolUseId", Value::String(text)) => id = text.decode().into_owned(),
            ("name", Value::String(text)) => name = text.decode().into_owned(),
            ("input", Value::Object(span)) => input = Some(raw(json, span).0),
            // A call of a tool that the upstream runs itself.
            ("type", Value::String(kind)) => is_own = !kind.is("server_tool_use"),
            _ => {}
        }
        Ok(())
    })?;
    Ok(if is_own {
        Block::Call { id, name, input }
    } else {
        Block::Foreign { kind: "toolUse".to_owned(), json: raw(json, Span::new(0, json.len())) }
    })
}

fn whole_thought(json: &[u8]) -> Result<Block, JsonError> {
    let mut pieces = Vec::new();
    members(json, |key, value| {
        match (key, value) {
            ("reasoningText", Value::Object(span)) => {
                let text = span.of(json);
                pieces.extend(read_text(text, "text")?.map(ContentDelta::Thought));
                pieces.extend(read_text(text, "signature")?.map(ContentDelta::Seal));
            }
            ("redactedContent", Value::String(text)) => {
                pieces.push(ContentDelta::Redacted(text.decode().into_owned()));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(Block::Deltas(pieces))
}

/// Text with citations: the pieces of text first, then the citations.
fn cited_text(json: &[u8]) -> Result<Block, JsonError> {
    let (mut pieces, mut citations) = (Vec::new(), Vec::new());
    members(json, |key, value| {
        match (key, value) {
            ("content", Value::Array(span)) => each(span.of(json), |piece| {
                pieces.extend(read_text(piece, "text")?.map(ContentDelta::Text));
                Ok(())
            })?,
            ("citations", Value::Array(span)) => each(span.of(json), |citation| {
                citations.push(ContentDelta::Citation(raw(citation, Span::new(0, citation.len()))));
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    pieces.append(&mut citations);
    Ok(Block::Deltas(pieces))
}

impl Answer {
    /// The spans refer to `body`.
    pub(super) fn read(body: &[u8]) -> Result<Self, JsonError> {
        let mut answer = Self::default();
        let mut cursor = Cursor::new(body)?;
        if cursor.kind()? != Kind::Object {
            return Ok(answer);
        }
        cursor.object(|cursor, member| {
            match (&*member.key.decode(), cursor.value()?) {
                ("output", Value::Object(span)) => answer.content = find_content(body, span)?,
                ("stopReason", Value::String(word)) => answer.stop = Some(word.decode().into_owned()),
                ("usage", Value::Object(span)) => answer.usage = Some(span),
                ("serviceTier", Value::Object(span)) => answer.tier = Some(span),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        cursor.end()?;
        Ok(answer)
    }
}

/// Finds the content of the message in `output`.
fn find_content(body: &[u8], output: Span) -> Result<Option<Span>, JsonError> {
    let (mut message, mut content) = (None, None);
    members(output.of(body), |key, value| {
        if let ("message", Value::Object(span)) = (key, value) {
            message = Some(within(span, output));
        }
        Ok(())
    })?;
    let Some(message) = message else { return Ok(None) };
    members(message.of(body), |key, value| {
        if let ("content", Value::Array(span)) = (key, value) {
            content = Some(within(span, message));
        }
        Ok(())
    })?;
    Ok(content)
}

const fn within(inner: Span, outer: Span) -> Span {
    Span::new(outer.start + inner.start, outer.start + inner.end)
}

/// Calls `take` with each object of an array, and skips other elements.
pub(super) fn each(
    array: &[u8],
    mut take: impl FnMut(&[u8]) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    Cursor::new(array)?.array(|cursor, _| {
        let is_object = cursor.kind()? == Kind::Object;
        let span = cursor.skip()?;
        if is_object { take(span.of(array)) } else { Ok(()) }
    })?;
    Ok(())
}

/// Reads an object and requires that nothing follows it. A value that is not an object has no members.
fn members(
    json: &[u8],
    mut member: impl FnMut(&str, Value<'_>) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(json)?;
    if cursor.kind()? != Kind::Object {
        cursor.skip()?;
        return cursor.end();
    }
    cursor.object(|cursor, found| {
        let key = found.key.decode();
        let value = cursor.value()?;
        member(&key, value)
    })?;
    cursor.end()
}

fn raw(bytes: &[u8], span: Span) -> Json {
    Json(String::from_utf8_lossy(span.of(bytes)).into_owned())
}

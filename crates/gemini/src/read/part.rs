//! Reads one part of a content.

use domain::prompt::{Content, Part, Signature, Source, Thought, ToolCall, ToolResult};
use domain::{Fault, Grammar, Json};
use json::fields::optional_boolean;
use json::{Cursor, Kind, plain_json};

use super::Reading;
use crate::media;
use crate::names::{each, members, raw, text};
use crate::wire::is_skip_sentinel;

/// A part as it was read, before its role is known.
pub(super) struct Read {
    pub path: String,
    /// A thought signature on a part that cannot hold one: it precedes the part as a redacted thought.
    pub seal: Option<Content>,
    pub content: Option<Content>,
}

#[derive(Default)]
struct Draft {
    content: Option<Content>,
    is_thought: bool,
    signature: Option<Signature>,
}

/// Inline bytes, or a reference to a file.
#[derive(Default)]
struct Media {
    data: Option<String>,
    uri: Option<String>,
    media_type: Option<String>,
    name: Option<String>,
}

impl Reading {
    pub(super) fn part(&mut self, cursor: &mut Cursor<'_>, path: String) -> Result<Read, Box<Fault>> {
        let mut draft = Draft::default();
        members(cursor, &path, |cursor, name, written| {
            self.part_member(cursor, name, format!("{path}.{written}"), &mut draft)
        })?;
        Ok(draft.finish(path))
    }

    fn part_member(
        &mut self,
        cursor: &mut Cursor<'_>,
        name: &str,
        path: String,
        draft: &mut Draft,
    ) -> Result<(), Box<Fault>> {
        if cursor.kind()? == Kind::Null {
            cursor.skip()?;
            return Ok(());
        }
        let content = match name {
            "text" => text(cursor, &path)?.map(|text| Content::Text { text, citations: Vec::new() }),
            "inlineData" | "fileData" => self.media(cursor, &path)?,
            "functionCall" => Some(self.call(cursor, &path)?),
            "functionResponse" => Some(self.result(cursor, &path)?),
            "executableCode" | "codeExecutionResult" | "toolCall" | "toolResponse" => {
                raw(cursor)?.map(|json| Content::Foreign { kind: name.to_owned(), json })
            }
            "thought" => {
                draft.is_thought = optional_boolean(cursor, &path)?.unwrap_or(false);
                return Ok(());
            }
            "thoughtSignature" => {
                let value =
                    text(cursor, &path)?.filter(|value| !value.is_empty() && !is_skip_sentinel(value));
                draft.signature = value.map(|value| Signature { grammar: Grammar::Gemini, value });
                return Ok(());
            }
            // The resolution at which media are processed, and metadata that is the client's own.
            "mediaResolution" | "partMetadata" => return Ok(self.extra(cursor, path, false)?),
            _ => return Ok(self.extra(cursor, path, true)?),
        };
        if draft.content.is_some() && content.is_some() {
            // A part holds one kind of data. Google does not document which of two would win.
            self.note(path, true);
        } else if content.is_some() {
            draft.content = content;
        }
        Ok(())
    }

    fn media(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<Option<Content>, Box<Fault>> {
        let mut media = Media::default();
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "data" => media.data = text(cursor, &path)?.map(media::standard_base64),
                "fileUri" => media.uri = text(cursor, &path)?,
                "mimeType" => media.media_type = text(cursor, &path)?.filter(|word| !word.is_empty()),
                "displayName" => media.name = text(cursor, &path)?,
                _ => self.extra(cursor, path, true)?,
            }
            Ok::<(), Box<Fault>>(())
        })?;
        let Media { data, uri, media_type, name } = media;
        let source = match (data, uri) {
            (Some(base64), _) => Source::Inline {
                media_type: media_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
                base64,
            },
            (None, Some(uri)) => media::source_of_uri(uri, media_type),
            (None, None) => return Ok(None),
        };
        Ok(Some(media::content_of(source, name)))
    }

    fn call(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<Content, Box<Fault>> {
        let mut call = ToolCall {
            id: String::new(),
            name: String::new(),
            arguments: "{}".to_owned(),
            is_custom: false,
            signature: None,
        };
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "id" => call.id = text(cursor, &path)?.unwrap_or_default(),
                "name" => call.name = text(cursor, &path)?.unwrap_or_default(),
                "args" => {
                    if let Some(Json(arguments)) = raw(cursor)? {
                        call.arguments = arguments;
                    }
                }
                _ => self.extra(cursor, path, true)?,
            }
            Ok::<(), Box<Fault>>(())
        })?;
        Ok(Content::ToolCall(call))
    }

    fn result(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<Content, Box<Fault>> {
        let mut result = ToolResult {
            id: String::new(),
            name: None,
            parts: Vec::new(),
            is_error: false,
            is_custom: false,
        };
        let mut response = None;
        let mut media = Vec::new();
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "id" => result.id = text(cursor, &path)?.unwrap_or_default(),
                "name" => result.name = text(cursor, &path)?,
                "response" => response = raw(cursor)?,
                "parts" => each(cursor, |cursor, index| {
                    let path = format!("{path}[{index}]");
                    let read = self.part(cursor, path)?;
                    media.extend(read.content.map(Part::of));
                    Ok::<(), Box<Fault>>(())
                })?,
                // When the result of an asynchronous call reaches the model; other dialects have no such
                // calls.
                "scheduling" | "willContinue" => self.extra(cursor, path, false)?,
                _ => self.extra(cursor, path, true)?,
            }
            Ok::<(), Box<Fault>>(())
        })?;
        if let Some(json) = response {
            let (text, is_error) = unwrap_response(&json)?;
            result.is_error = is_error;
            result.parts.extend(text.map(Part::text));
        }
        result.parts.extend(media);
        Ok(Content::ToolResult(result))
    }
}

impl Draft {
    fn finish(self, path: String) -> Read {
        let Self { content, is_thought, signature } = self;
        let thought = |text, signature, is_redacted: bool| {
            Content::Thought(Thought { text, is_summary: !is_redacted, signature, is_redacted, id: None })
        };
        match content {
            Some(Content::ToolCall(call)) => {
                let call = ToolCall { signature, ..call };
                Read { path, seal: None, content: Some(Content::ToolCall(call)) }
            }
            Some(Content::Text { text, .. }) if is_thought => {
                Read { path, seal: None, content: Some(thought(text, signature, false)) }
            }
            content => {
                let is_blank = matches!(&content, Some(Content::Text { text, .. }) if text.is_empty());
                let seal = signature.map(|signature| thought(String::new(), Some(signature), true));
                // An empty text only carries the signature.
                let content = content.filter(|_| !is_blank);
                Read { path, seal, content }
            }
        }
    }
}

/// Reads a function's response. Google documents `output` and `error` as the members that hold it; otherwise
/// it is the whole object.
fn unwrap_response(json: &Json) -> Result<(Option<String>, bool), Box<Fault>> {
    let mut cursor = Cursor::new(json.as_str().as_bytes())?;
    match cursor.kind()? {
        Kind::Object => {}
        Kind::String => return Ok((text(&mut cursor, "response")?, false)),
        _ => return Ok((Some(plain_json(json.as_str()).into_owned()), false)),
    }
    let mut count = 0;
    let mut found = None;
    members(&mut cursor, "response", |cursor, _, written| {
        count += 1;
        if !matches!(written, "output" | "error") {
            cursor.skip()?;
            return Ok(());
        }
        let value = match cursor.kind()? {
            Kind::String => text(cursor, written)?,
            _ => raw(cursor)?.map(|json| plain_json(json.as_str()).into_owned()),
        };
        found = value.map(|value| (value, written == "error"));
        Ok::<(), Box<Fault>>(())
    })?;
    Ok(match (count, found) {
        (0, _) => (None, false),
        (1, Some((value, is_error))) => (Some(value), is_error),
        _ => (Some(plain_json(json.as_str()).into_owned()), false),
    })
}

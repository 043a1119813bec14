//! Parses Anthropic's events and messages into the pieces that the response reader needs.

use conversation::answer::StreamFault;
use conversation::upstream_error::{class_of, read_error};
use domain::FaultClass;
use domain::prompt::Json;
use json::{Cursor, JsonError, Kind, Span, Value, find_member};

/// The fields of a content block: at its start in a stream, or in a buffered response.
#[derive(Debug, Default)]
pub(super) struct Block<'a> {
    pub raw: &'a str,
    pub kind: String,
    pub id: String,
    pub name: String,
    pub text: String,
    pub seal: String,
    pub input: Option<&'a str>,
    pub citations: Vec<Json>,
}

/// Why the response ended, as the upstream reports it.
#[derive(Debug, Default)]
pub(super) struct Stop {
    pub reason: Option<String>,
    pub sequence: Option<String>,
    pub explanation: Option<String>,
}

/// The members of an event, of whatever type.
#[derive(Debug, Default)]
pub(super) struct EventParts<'a> {
    pub kind: String,
    pub index: u64,
    pub message: Option<&'a str>,
    pub block: Option<&'a str>,
    pub delta: Option<&'a str>,
    pub usage: Option<&'a str>,
}

impl<'a> EventParts<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, StreamFault> {
        let mut parts = Self::default();
        let mut cursor = Cursor::new(text.as_bytes())?;
        cursor.object(|cursor, member| {
            let name = member.key.decode();
            match (&*name, cursor.value()?) {
                ("type", Value::String(kind)) => parts.kind = kind.decode().into_owned(),
                ("index", value) => parts.index = value.as_count().unwrap_or(0),
                ("message", Value::Object(span)) => parts.message = slice(text, span),
                ("content_block", Value::Object(span)) => parts.block = slice(text, span),
                ("delta", Value::Object(span)) => parts.delta = slice(text, span),
                ("usage", Value::Object(span)) => parts.usage = slice(text, span),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        cursor.end()?;
        Ok(parts)
    }
}

/// The fields of a message, its content unparsed.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    pub id: Option<String>,
    pub model: Option<String>,
    pub content: Option<&'a str>,
    pub stop: Stop,
    pub usage: Option<&'a str>,
}

impl<'a> Message<'a> {
    pub(super) fn of(text: &'a str) -> Result<Self, JsonError> {
        let mut message = Self::default();
        Cursor::new(text.as_bytes())?
            .object(|cursor, member| message.read(&member.key.decode(), cursor, text))?;
        Ok(message)
    }

    pub(super) fn read(
        &mut self,
        name: &str,
        cursor: &mut Cursor<'_>,
        text: &'a str,
    ) -> Result<(), JsonError> {
        match (name, cursor.value()?) {
            ("id", Value::String(id)) => self.id = Some(id.decode().into_owned()),
            ("model", Value::String(model)) => self.model = Some(model.decode().into_owned()),
            ("content", Value::Array(span)) => self.content = slice(text, span),
            ("usage", Value::Object(span)) => self.usage = slice(text, span),
            (name, value) => self.stop.read(name, value, text)?,
        }
        Ok(())
    }
}

impl Stop {
    pub(super) fn read(&mut self, name: &str, value: Value<'_>, text: &str) -> Result<(), JsonError> {
        match (name, value) {
            ("stop_reason", Value::String(reason)) => self.reason = Some(reason.decode().into_owned()),
            ("stop_sequence", Value::String(sequence)) => {
                self.sequence = Some(sequence.decode().into_owned())
            }
            ("stop_details", Value::Object(span)) => {
                self.read_details(slice(text, span).unwrap_or_default())?
            }
            _ => {}
        }
        Ok(())
    }

    /// The explanation of a refusal, or its category where there is none.
    pub(super) fn read_details(&mut self, details: &str) -> Result<(), JsonError> {
        let mut category = None;
        Cursor::new(details.as_bytes())?.object(|cursor, member| {
            if let Value::String(text) = cursor.value()? {
                match &*member.key.decode() {
                    "explanation" => self.explanation = Some(text.decode().into_owned()),
                    "category" => category = Some(text.decode().into_owned()),
                    _ => {}
                }
            }
            Ok::<(), JsonError>(())
        })?;
        self.explanation = self.explanation.take().or(category);
        Ok(())
    }
}

impl<'a> Block<'a> {
    /// `text` is the text that the cursor reads from.
    pub(super) fn read(cursor: &mut Cursor<'_>, text: &'a str) -> Result<Self, JsonError> {
        let mut block = Self::default();
        if cursor.kind()? != Kind::Object {
            cursor.skip()?;
            return Ok(block);
        }
        let whole = cursor.object(|cursor, member| {
            let name = member.key.decode();
            match (&*name, cursor.value()?) {
                ("type", Value::String(kind)) => block.kind = kind.decode().into_owned(),
                ("id", Value::String(id)) => block.id = id.decode().into_owned(),
                ("name", Value::String(name)) => block.name = name.decode().into_owned(),
                ("text" | "thinking", Value::String(content)) => block.text = content.decode().into_owned(),
                ("signature" | "data", Value::String(seal)) => block.seal = seal.decode().into_owned(),
                ("input", Value::Object(span)) => block.input = slice(text, span),
                ("citations", Value::Array(span)) => {
                    block.citations = citations(slice(text, span).unwrap_or_default())?;
                }
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        block.raw = slice(text, whole).unwrap_or_default();
        Ok(block)
    }
}

fn citations(list: &str) -> Result<Vec<Json>, JsonError> {
    let mut found = Vec::new();
    Cursor::new(list.as_bytes())?.array(|cursor, _| {
        let span = cursor.skip()?;
        found.extend(slice(list, span).map(|raw| Json(raw.to_owned())));
        Ok::<(), JsonError>(())
    })?;
    Ok(found)
}

pub(super) fn slice(text: &str, span: Span) -> Option<&str> {
    text.get(span.start..span.end)
}

/// The fault for a body that is not a message: an error sent with a success status, or something else
/// entirely.
pub(super) fn upstream_fault(body: &[u8]) -> StreamFault {
    let is_error = find_member(body, "error").is_ok_and(|found| found.is_some());
    if is_error { error_fault(body) } else { StreamFault::Broken("not_a_message") }
}

/// The error that the upstream reported.
pub(super) fn error_fault(body: &[u8]) -> StreamFault {
    let mut report = read_error(body);
    if let Ok(Some(span)) = find_member(body, "request_id")
        && let Ok(id) = serde_json::from_slice::<String>(span.of(body))
    {
        report.request_id = Some(id);
    }
    let class = class_of(None, &report);
    // The message about a rejected upstream key is not passed on to the client.
    if class == FaultClass::UpstreamAuth {
        report.message = None;
    }
    StreamFault::Upstream(report, class)
}

//! What one chunk says, taken apart before anything is made of it: its members come in any order.

use std::borrow::Cow;

use crate::answer::StreamFault;
use crate::chat::usage::Registers;
use crate::json::{Cursor, JsonError, Kind, Span, Text, Value};

/// A chunk, or a whole answer.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    pub id: Option<String>,
    pub model: Option<String>,
    pub created_unix_s: Option<u64>,
    pub choices: Vec<Told<'a>>,
    pub has_choices: bool,
    pub has_usage: bool,
    pub is_failure: bool,
}

/// What a chunk tells of one choice. Spans are of the whole chunk.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    pub index: Option<u64>,
    pub delta: Option<Span>,
    /// The delta is a message, whole.
    pub is_message: bool,
    /// Servers of plain completions say their text here.
    pub text: Option<Text<'a>>,
    /// Never empty: some servers send an empty word with each chunk.
    pub finish: Option<Cow<'a, str>>,
    pub logprobs: Option<Value<'a>>,
}

/// What a delta or a message says. Spans and texts are of the delta's own bytes.
#[derive(Debug, Default)]
pub(super) struct Delta<'a> {
    pub bytes: &'a [u8],
    pub thought: Option<Text<'a>>,
    pub content: Option<Value<'a>>,
    pub refusal: Option<Text<'a>>,
    pub annotations: Option<Span>,
    pub calls: Option<Span>,
    /// The one call of the time before there were several.
    pub old_call: Option<Span>,
}

impl<'a> Chunk<'a> {
    pub(super) fn read(json: &'a [u8], registers: &mut Registers) -> Result<Self, StreamFault> {
        let mut cursor = Cursor::new(json)?;
        if cursor.kind()? != Kind::Object {
            cursor.skip()?;
            cursor.end()?;
            return Err(StreamFault::Broken("not_an_object"));
        }
        let mut chunk = Self::default();
        cursor.object(|cursor, member| {
            match &*member.key.decode() {
                "id" => chunk.id = said(cursor)?,
                "model" => chunk.model = said(cursor)?,
                "created" => chunk.created_unix_s = seconds(&cursor.value()?),
                "choices" if cursor.kind()? == Kind::Array => {
                    chunk.has_choices = true;
                    cursor.array(|cursor, _| Told::read(cursor, &mut chunk.choices))?;
                }
                "usage" => {
                    chunk.has_usage |= cursor.kind()? == Kind::Object;
                    registers.read(cursor)?;
                }
                "service_tier" => registers.read_tier(cursor)?,
                "error" => chunk.is_failure |= cursor.value()?.is_something(json),
                "object" => {
                    chunk.is_failure |= matches!(cursor.value()?, Value::String(text) if text.is("error"));
                }
                _ => skip(cursor)?,
            }
            Ok::<(), JsonError>(())
        })?;
        cursor.end()?;
        Ok(chunk)
    }
}

impl<'a> Told<'a> {
    fn read(cursor: &mut Cursor<'a>, choices: &mut Vec<Self>) -> Result<(), JsonError> {
        if cursor.kind()? != Kind::Object {
            return skip(cursor);
        }
        let mut told = Self::default();
        cursor.object(|cursor, member| {
            let key = member.key.decode();
            match (&*key, cursor.kind()?) {
                ("index", _) => told.index = cursor.count()?,
                ("delta" | "message", Kind::Object) => {
                    told.is_message = key == "message";
                    told.delta = Some(cursor.skip()?);
                }
                ("text", Kind::String) => told.text = string(cursor)?,
                ("finish_reason", Kind::String) => {
                    told.finish = string(cursor)?.map(|text| text.decode()).filter(|word| !word.is_empty());
                }
                ("logprobs", _) => told.logprobs = Some(cursor.value()?),
                _ => skip(cursor)?,
            }
            Ok::<(), JsonError>(())
        })?;
        choices.push(told);
        Ok(())
    }
}

impl<'a> Delta<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let mut delta = Self { bytes, ..Self::default() };
        // Servers that say a thought under both names mean it once.
        let mut other_thought = None;
        Cursor::new(bytes)?.object(|cursor, member| {
            match (&*member.key.decode(), cursor.kind()?) {
                ("reasoning_content", Kind::String) => delta.thought = string(cursor)?,
                ("reasoning", Kind::String) => other_thought = string(cursor)?,
                ("content", _) => delta.content = Some(cursor.value()?),
                ("refusal", Kind::String) => delta.refusal = string(cursor)?,
                ("annotations", Kind::Array) => delta.annotations = Some(cursor.skip()?),
                ("tool_calls", Kind::Array) => delta.calls = Some(cursor.skip()?),
                ("function_call", Kind::Object) => delta.old_call = Some(cursor.skip()?),
                _ => skip(cursor)?,
            }
            Ok::<(), JsonError>(())
        })?;
        delta.thought = delta.thought.filter(|text| !text.is_empty()).or(other_thought);
        Ok(delta)
    }

    /// The content where it is one text.
    pub(super) fn text(&self) -> Option<&Text<'a>> {
        match &self.content {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

pub(super) fn string<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Text<'a>>, JsonError> {
    Ok(match cursor.value()? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

pub(super) fn skip(cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
    cursor.skip().map(|_| ())
}

/// A text that is not empty.
pub(super) fn said(cursor: &mut Cursor<'_>) -> Result<Option<String>, JsonError> {
    let text = string(cursor)?;
    Ok(text.filter(|text| !text.is_empty()).map(|text| text.decode().into_owned()))
}

/// Whole seconds, of servers too that tell parts of them. Zero is what stands for nothing.
fn seconds(value: &Value<'_>) -> Option<u64> {
    let Value::Number(written) = value else { return None };
    let whole = written.split('.').next().unwrap_or_default();
    whole.parse().ok().filter(|seconds| *seconds > 0)
}

//! Parses one chunk before any event is made of it, since its members come in any order.

use std::borrow::Cow;

use conversation::answer::StreamFault;
use json::{Cursor, JsonError, Kind, Span, Text, Value};

use crate::usage::UsageCounters;

/// A chunk or a buffered response.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    pub id: Option<String>,
    pub model: Option<String>,
    pub created_unix_s: Option<u64>,
    pub choices: Vec<ChunkChoice<'a>>,
    pub has_choices: bool,
    pub has_usage: bool,
    pub is_failure: bool,
}

/// What a chunk says about one choice. Spans refer to the whole chunk.
#[derive(Debug, Default)]
pub(super) struct ChunkChoice<'a> {
    pub index: Option<u64>,
    pub delta: Option<Span>,
    /// The delta is a complete message.
    pub is_message: bool,
    /// The text, where servers of plain completions put it.
    pub text: Option<Text<'a>>,
    /// Never empty: some servers send an empty string with each chunk.
    pub finish: Option<Cow<'a, str>>,
    pub logprobs: Option<Value<'a>>,
}

/// The contents of a delta or a message. Spans and texts refer to the delta's own bytes.
#[derive(Debug, Default)]
pub(super) struct Delta<'a> {
    pub bytes: &'a [u8],
    pub thought: Option<Text<'a>>,
    pub content: Option<Value<'a>>,
    pub refusal: Option<Text<'a>>,
    pub annotations: Option<Span>,
    pub calls: Option<Span>,
    /// The legacy `function_call`.
    pub old_call: Option<Span>,
}

impl<'a> Chunk<'a> {
    pub(super) fn read(json: &'a [u8], registers: &mut UsageCounters) -> Result<Self, StreamFault> {
        let mut cursor = Cursor::new(json)?;
        if cursor.kind()? != Kind::Object {
            cursor.skip()?;
            cursor.end()?;
            return Err(StreamFault::Broken("not_an_object"));
        }
        let mut chunk = Self::default();
        cursor.object(|cursor, member| {
            match &*member.key.decode() {
                "id" => chunk.id = non_empty_string(cursor)?,
                "model" => chunk.model = non_empty_string(cursor)?,
                "created" => chunk.created_unix_s = seconds(&cursor.value()?),
                "choices" if cursor.kind()? == Kind::Array => {
                    chunk.has_choices = true;
                    cursor.array(|cursor, _| ChunkChoice::read(cursor, &mut chunk.choices))?;
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
                _ => cursor.ignore()?,
            }
            Ok::<(), JsonError>(())
        })?;
        cursor.end()?;
        Ok(chunk)
    }
}

impl<'a> ChunkChoice<'a> {
    fn read(cursor: &mut Cursor<'a>, choices: &mut Vec<Self>) -> Result<(), JsonError> {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        let mut choice = Self::default();
        cursor.object(|cursor, member| {
            let key = member.key.decode();
            match (&*key, cursor.kind()?) {
                ("index", _) => choice.index = cursor.count()?,
                ("delta" | "message", Kind::Object) => {
                    choice.is_message = key == "message";
                    choice.delta = Some(cursor.skip()?);
                }
                ("text", Kind::String) => choice.text = string(cursor)?,
                ("finish_reason", Kind::String) => {
                    choice.finish = string(cursor)?.map(|text| text.decode()).filter(|word| !word.is_empty());
                }
                ("logprobs", _) => choice.logprobs = Some(cursor.value()?),
                _ => cursor.ignore()?,
            }
            Ok::<(), JsonError>(())
        })?;
        choices.push(choice);
        Ok(())
    }
}

impl<'a> Delta<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let mut delta = Self { bytes, ..Self::default() };
        // Servers that send reasoning under both names mean the same text.
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
                _ => cursor.ignore()?,
            }
            Ok::<(), JsonError>(())
        })?;
        delta.thought = delta.thought.filter(|text| !text.is_empty()).or(other_thought);
        Ok(delta)
    }

    /// The content where it is one string.
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

/// A string that is not empty.
pub(super) fn non_empty_string(cursor: &mut Cursor<'_>) -> Result<Option<String>, JsonError> {
    let text = string(cursor)?;
    Ok(text.filter(|text| !text.is_empty()).map(|text| text.decode().into_owned()))
}

/// Whole seconds, also from servers that send fractions. Zero means absent.
fn seconds(value: &Value<'_>) -> Option<u64> {
    let Value::Number(written) = value else { return None };
    let whole = written.split('.').next().unwrap_or_default();
    whole.parse().ok().filter(|seconds| *seconds > 0)
}

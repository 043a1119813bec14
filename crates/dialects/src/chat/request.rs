//! Reads a request in one pass and edits its bytes for an upstream.

use std::borrow::Cow;

use bytes::Bytes;
use domain::Fault;
use domain::limits::{CHOICES_MAX, END_USER_BYTES_MAX, MODEL_NAME_BYTES_MAX};

use super::messages;
use super::refusal::{duplicate, empty, missing, no_object, wrong_type, wrong_value};
use super::splice::{Edit, splice};
use crate::json::{Cursor, Kind, Member, Span, Value, plain_end};

/// What the rooms need of a request; everything else stays in the body's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatRequest {
    pub model: String,
    pub stream: bool,
    /// The client itself asked for usage in the stream.
    pub include_usage: bool,
    /// `max_completion_tokens`, else `max_tokens`.
    pub max_output_tokens: Option<u64>,
    /// `n`, 1 where it is not said.
    pub choices: u32,
    /// Bytes of text in the prompt, for estimates.
    pub prompt_bytes: u64,
    model_value: Span,
    /// `safety_identifier`, else `user`.
    end_user: Option<Span>,
    /// What to put where, so that the upstream is asked for usage; `None` where the client asks already.
    usage_edit: Option<(Span, &'static str)>,
}

/// The fields that a room reads: a second one of the same name is refused.
#[derive(Debug, Clone, Copy)]
enum Field {
    Model,
    Messages,
    Stream,
    StreamOptions,
    Choices,
    MaxTokens,
    MaxCompletionTokens,
    User,
    SafetyIdentifier,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Draft {
    seen: u16,
    request: ChatRequest,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    user: Option<Span>,
    safety_identifier: Option<Span>,
}

/// Reads and validates a request. The whole body is checked as JSON and UTF-8; the fields that we read are
/// checked for type and for being there once; all others pass.
///
/// # Errors
/// What is wrong, where, and how to mend it.
pub fn decode_request(body: &Bytes) -> Result<ChatRequest, Box<Fault>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(empty());
    }
    let mut cursor = Cursor::new(body)?;
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        cursor.skip()?;
        cursor.end()?;
        return Err(no_object(kind));
    }
    let mut draft = Draft::default();
    let open = cursor.position();
    draft.request.usage_edit =
        Some((Span::new(open + 1, open + 1), r#""stream_options":{"include_usage":true},"#));
    cursor.object(|cursor, member| draft.read(cursor, &member))?;
    cursor.end()?;
    draft.finish()
}

/// The client's bytes for an upstream: the model renamed, usage asked for where `ask_usage` says so and the
/// answer is a stream. Large bodies are sliced, not copied.
#[must_use]
pub fn upstream_body(
    body: &Bytes,
    request: &ChatRequest,
    upstream_model: &str,
    ask_usage: bool,
) -> Vec<Bytes> {
    let rename = (upstream_model != request.model).then(|| rename(request.model_value, upstream_model));
    let usage = request.usage_edit.filter(|_| ask_usage && request.stream);
    let usage = usage.map(|(span, text)| Edit { span, text: Cow::Borrowed(text) });
    let mut out = Vec::with_capacity(1);
    match (rename, usage) {
        (None, None) => splice(body, &mut [], &mut out),
        (Some(edit), None) | (None, Some(edit)) => splice(body, &mut [edit], &mut out),
        (Some(rename), Some(usage)) => splice(body, &mut [rename, usage], &mut out),
    }
    out
}

/// Puts a name in the place of a string, whose quotation marks stay where nothing in the name must be escaped.
fn rename(string: Span, name: &str) -> Edit<'_> {
    if plain_end(name.as_bytes(), 0) == name.len() {
        return Edit {
            span: Span::new(string.start + 1, string.end.saturating_sub(1)),
            text: Cow::Borrowed(name),
        };
    }
    Edit { span: string, text: Cow::Owned(serde_json::to_string(name).unwrap_or_default()) }
}

impl ChatRequest {
    /// Whom the client asks for, cut to what we keep; `body` is the one that was read.
    #[must_use]
    pub fn end_user(&self, body: &[u8]) -> Option<String> {
        let Ok(Value::String(text)) = Cursor::new(self.end_user?.of(body)).ok()?.value() else { return None };
        let mut text = text.decode().into_owned();
        text.truncate(text.floor_char_boundary(END_USER_BYTES_MAX));
        Some(text)
    }
}

impl Draft {
    fn read(&mut self, cursor: &mut Cursor<'_>, member: &Member<'_>) -> Result<(), Box<Fault>> {
        let name = member.key.decode();
        let field = match &*name {
            "model" => Field::Model,
            "messages" => Field::Messages,
            "stream" => Field::Stream,
            "stream_options" => Field::StreamOptions,
            "n" => Field::Choices,
            "max_tokens" => Field::MaxTokens,
            "max_completion_tokens" => Field::MaxCompletionTokens,
            "user" => Field::User,
            "safety_identifier" => Field::SafetyIdentifier,
            // Tool definitions are part of the prompt that the model reads.
            "tools" | "functions" => {
                self.request.prompt_bytes += cursor.skip()?.len() as u64;
                return Ok(());
            }
            _ => {
                cursor.skip()?;
                return Ok(());
            }
        };
        let bit = 1_u16 << field as u16;
        if self.seen & bit != 0 {
            return Err(duplicate(name.into_owned()));
        }
        self.seen |= bit;
        self.read_field(cursor, field, &name)
    }

    fn read_field(&mut self, cursor: &mut Cursor<'_>, field: Field, name: &str) -> Result<(), Box<Fault>> {
        match field {
            Field::Model => self.read_model(cursor)?,
            Field::Messages => self.request.prompt_bytes += messages::read(cursor)?,
            Field::Stream => self.request.stream = optional_boolean(cursor, name)?.unwrap_or(false),
            Field::StreamOptions => self.read_stream_options(cursor)?,
            Field::Choices => self.read_choices(cursor)?,
            Field::MaxTokens => self.max_tokens = optional_count(cursor, name)?,
            Field::MaxCompletionTokens => self.max_completion_tokens = optional_count(cursor, name)?,
            Field::User => self.user = optional_text(cursor, name)?,
            Field::SafetyIdentifier => self.safety_identifier = optional_text(cursor, name)?,
        }
        Ok(())
    }

    fn read_model(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        let Value::String(text) = cursor.value()? else {
            return Err(wrong_type("model".to_owned(), "a string", kind));
        };
        let model = text.decode();
        let what = if model.is_empty() {
            "is empty"
        } else if model.len() > MODEL_NAME_BYTES_MAX {
            "is longer than any model's name"
        } else if model.chars().any(char::is_control) {
            "holds a control character"
        } else {
            self.request.model_value = text.span;
            self.request.model = model.into_owned();
            return Ok(());
        };
        let fix = "Send the id of a model as GET /v1/models lists it.".to_owned();
        Err(wrong_value("model".to_owned(), what, fix))
    }

    fn read_stream_options(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        let start = cursor.position();
        if kind == Kind::Null {
            let span = cursor.skip()?;
            self.request.usage_edit = Some((span, r#"{"include_usage":true}"#));
            return Ok(());
        }
        if kind != Kind::Object {
            return Err(wrong_type("stream_options".to_owned(), "an object", kind));
        }
        let mut members = 0;
        let mut said = None;
        cursor.object(|cursor, member| {
            members += 1;
            if !member.key.is("include_usage") {
                cursor.skip()?;
                return Ok(());
            }
            if said.is_some() {
                return Err(duplicate("stream_options.include_usage".to_owned()));
            }
            cursor.kind()?;
            let from = cursor.position();
            let asked = optional_boolean(cursor, "stream_options.include_usage")?;
            said = Some((Span::new(from, cursor.position()), asked == Some(true)));
            Ok::<(), Box<Fault>>(())
        })?;
        let inside = Span::new(start + 1, start + 1);
        self.request.include_usage = matches!(said, Some((_, true)));
        self.request.usage_edit = match said {
            Some((_, true)) => None,
            Some((span, false)) => Some((span, "true")),
            None if members == 0 => Some((inside, r#""include_usage":true"#)),
            None => Some((inside, r#""include_usage":true,"#)),
        };
        Ok(())
    }

    fn read_choices(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        let Some(count) = optional_count(cursor, "n")? else { return Ok(()) };
        match u32::try_from(count) {
            Ok(choices) if (1..=CHOICES_MAX).contains(&choices) => {
                self.request.choices = choices;
                Ok(())
            }
            _ => {
                let fix = format!("Send a whole number from 1 to {CHOICES_MAX}, or leave it out.");
                Err(wrong_value("n".to_owned(), "is out of range", fix))
            }
        }
    }

    fn finish(self) -> Result<ChatRequest, Box<Fault>> {
        let has = |field: Field| self.seen & (1 << field as u16) != 0;
        if !has(Field::Model) {
            let fix = "Send the id of a model as GET /v1/models lists it.";
            return Err(missing("model".to_owned(), fix));
        }
        if !has(Field::Messages) {
            return Err(missing("messages".to_owned(), "Send an array of messages, each with a role."));
        }
        let mut request = self.request;
        request.choices = request.choices.max(1);
        request.max_output_tokens = self.max_completion_tokens.or(self.max_tokens);
        request.end_user = self.safety_identifier.or(self.user);
        Ok(request)
    }
}

/// A boolean, or `null` for its absence.
fn optional_boolean(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<bool>, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::Boolean(truth) => Ok(Some(truth)),
        _ => Err(wrong_type(name.to_owned(), "a boolean", kind)),
    }
}

/// A whole number from 0, or `null` for its absence.
pub(super) fn optional_count(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<u64>, Box<Fault>> {
    let kind = cursor.kind()?;
    let value = cursor.value()?;
    match (value, value.as_count()) {
        (Value::Null, _) => Ok(None),
        (_, Some(count)) => Ok(Some(count)),
        (Value::Number(_), None) => {
            let fix = format!("Send a whole number from 0 in \"{name}\".");
            Err(wrong_value(name.to_owned(), "is not a whole number from 0", fix))
        }
        _ => Err(wrong_type(name.to_owned(), "a whole number", kind)),
    }
}

/// A string, or `null` for its absence.
fn optional_text(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<Span>, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.span)),
        _ => Err(wrong_type(name.to_owned(), "a string", kind)),
    }
}

//! Decodes a Responses request in one pass: the fields that routing and accounting read.

use bytes::Bytes;
use conversation::fields::{optional_tier, read_model};
use conversation::request::{Request, Stored, StoredAct};
use domain::Fault;
use json::fields::{SeenFields, not_empty, open_object, optional_boolean, optional_count, optional_text};
use json::refusal::{missing, wrong_type};
use json::{Cursor, JsonError, Kind, Member, Span, Value};

use super::named;

/// The fields that are read here: a duplicate of one is refused.
#[derive(Debug, Clone, Copy)]
enum Field {
    Model,
    Input,
    Instructions,
    Stream,
    MaxOutputTokens,
    User,
    SafetyIdentifier,
    /// Fields that replace `input` or add to it.
    PreviousResponse,
    Conversation,
    PromptTemplate,
    Store,
    Background,
    Include,
    ServiceTier,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Draft {
    seen: SeenFields,
    /// Those of them that are not `null`.
    present: u16,
    request: Request,
    is_unkept: bool,
    user: Option<Span>,
    safety_identifier: Option<Span>,
}

/// Reads and validates a request. The whole body is checked as JSON and UTF-8; the fields read here are
/// checked for their type and for duplicates; all others pass.
pub fn decode_request(body: &Bytes) -> Result<Request, Box<Fault>> {
    not_empty(body)?;
    let mut cursor = open_object(body)?;
    let mut draft = Draft::default();
    cursor.object(|cursor, member| draft.read(cursor, &member))?;
    cursor.end()?;
    draft.finish()
}

impl Draft {
    fn read(&mut self, cursor: &mut Cursor<'_>, member: &Member<'_>) -> Result<(), Box<Fault>> {
        let name = member.key.decode();
        let field = match &*name {
            "model" => Field::Model,
            "input" => Field::Input,
            "instructions" => Field::Instructions,
            "stream" => Field::Stream,
            "max_output_tokens" => Field::MaxOutputTokens,
            "user" => Field::User,
            "safety_identifier" => Field::SafetyIdentifier,
            "previous_response_id" => Field::PreviousResponse,
            "conversation" => Field::Conversation,
            "prompt" => Field::PromptTemplate,
            "store" => Field::Store,
            "background" => Field::Background,
            "include" => Field::Include,
            "service_tier" => Field::ServiceTier,
            // Tool definitions are part of the prompt that the model reads.
            "tools" => {
                self.request.prompt_bytes += named::read_tools(cursor, &mut self.request)?;
                return Ok(());
            }
            _ => {
                cursor.skip()?;
                return Ok(());
            }
        };
        self.seen.add(field as u16, || name.to_string())?;
        self.read_field(cursor, field, &name)
    }

    const fn has(&self, field: Field) -> bool {
        self.present & (1 << field as u16) != 0
    }

    fn read_field(&mut self, cursor: &mut Cursor<'_>, field: Field, name: &str) -> Result<(), Box<Fault>> {
        let is_present = cursor.kind()? != Kind::Null;
        match field {
            Field::Model => read_model(cursor, &mut self.request)?,
            Field::Input => read_input(cursor, &mut self.request)?,
            Field::Instructions => {
                let kind = cursor.kind()?;
                match cursor.value()? {
                    Value::Null => {}
                    Value::String(text) => self.request.prompt_bytes += text.decoded_len() as u64,
                    _ => return Err(wrong_type(name.to_owned(), "a string", kind)),
                }
            }
            Field::Stream => self.request.stream = optional_boolean(cursor, name)?.unwrap_or(false),
            Field::MaxOutputTokens => self.request.max_output_tokens = optional_count(cursor, name)?,
            Field::User => self.user = optional_text(cursor, name)?,
            Field::SafetyIdentifier => self.safety_identifier = optional_text(cursor, name)?,
            Field::PreviousResponse => self.request.stored = read_previous(cursor, name)?,
            // Responses are stored unless the client says otherwise.
            Field::Store => self.is_unkept = optional_boolean(cursor, name)? == Some(false),
            Field::Background => {
                self.request.is_background = optional_boolean(cursor, name)?.unwrap_or(false);
            }
            Field::Include => self.request.spans.encrypted_reasoning = find_sealed_thoughts(cursor)?,
            Field::ServiceTier => self.request.terms.tier = optional_tier(cursor)?,
            Field::Conversation | Field::PromptTemplate => {
                cursor.skip()?;
            }
        }
        self.present |= u16::from(is_present) << field as u16;
        Ok(())
    }

    fn finish(self) -> Result<Request, Box<Fault>> {
        if !self.has(Field::Model) {
            let fix = "Send the id of a model as GET /v1/models lists it.";
            return Err(missing("model".to_owned(), fix));
        }
        let others = [Field::Input, Field::PreviousResponse, Field::Conversation, Field::PromptTemplate];
        if !others.into_iter().any(|field| self.has(field)) {
            return Err(missing("input".to_owned(), "Send a string, or an array of input items."));
        }
        let mut request = self.request;
        request.choices = 1;
        // Responses always reports usage.
        request.include_usage = true;
        request.stores_answer = !self.is_unkept;
        request.spans.end_user = self.safety_identifier.or(self.user);
        Ok(request)
    }
}

/// The span of `reasoning.encrypted_content` in `include`, with one comma, so that cutting it leaves a valid
/// array.
fn find_sealed_thoughts(cursor: &mut Cursor<'_>) -> Result<Option<Span>, JsonError> {
    if cursor.kind()? != Kind::Array {
        return cursor.skip().map(|_| None);
    }
    let bytes = cursor.bytes();
    let (mut found, mut before): (Option<Span>, Option<Span>) = (None, None);
    let mut is_first_open = false;
    cursor.array(|cursor, _| {
        let span = cursor.skip()?;
        if let (true, Some(first)) = (is_first_open, &mut found) {
            *first = Span::new(first.start, span.start);
            is_first_open = false;
        } else if found.is_none() && span.of(bytes) == b"\"reasoning.encrypted_content\"" {
            found = Some(Span::new(before.map_or(span.start, |before| before.end), span.end));
            is_first_open = before.is_none();
        }
        before = Some(span);
        Ok::<(), JsonError>(())
    })?;
    Ok(found)
}

/// A request about a stored response, which sends nothing to a model.
pub fn decode_stored_request(stored: &Stored) -> Request {
    let mut pairs = stored.query.split('&');
    Request {
        stream: stored.act == StoredAct::Read && pairs.any(|pair| pair == "stream=true"),
        include_usage: true,
        max_output_tokens: Some(0),
        choices: 1,
        stored: Some(Box::new(stored.clone())),
        ..Request::default()
    }
}

fn read_previous(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<Box<Stored>>, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::String(text) => {
            let id = text.decode().into_owned();
            Ok(Some(Box::new(Stored::new(id, StoredAct::Continue, String::new()))))
        }
        _ => Err(wrong_type(name.to_owned(), "a string", kind)),
    }
}

/// Checks the input's shape, counts the bytes of its text, and records the files that it references.
fn read_input(cursor: &mut Cursor<'_>, request: &mut Request) -> Result<(), Box<Fault>> {
    let kind = cursor.kind()?;
    if kind != Kind::Array {
        match cursor.value()? {
            Value::Null => {}
            Value::String(text) => request.prompt_bytes += text.decoded_len() as u64,
            _ => return Err(wrong_type("input".to_owned(), "a string or an array of items", kind)),
        }
        return Ok(());
    }
    cursor.array(|cursor, index| {
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(format!("input[{index}]"), "an object", kind));
        }
        request.prompt_bytes += named::read_item(cursor, index, &mut request.files)?;
        Ok::<(), Box<Fault>>(())
    })?;
    Ok(())
}

pub(super) fn text_bytes(cursor: &mut Cursor<'_>) -> Result<u64, JsonError> {
    match cursor.value()? {
        Value::String(text) => Ok(text.decoded_len() as u64),
        _ => Ok(0),
    }
}

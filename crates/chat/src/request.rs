//! Decodes a request of OpenAI's API in one pass: the fields that routing and accounting read.

use bytes::Bytes;
use conversation::fields::{optional_tier, read_model, read_own_tools};
use conversation::request::{Request, RequestSpans};
use domain::limits::CHOICES_MAX;
use domain::{Fault, HostedTool};
use json::fields::{SeenFields, not_empty, open_object, optional_boolean, optional_count, optional_text};
use json::refusal::{duplicate, missing, too_small, wrong_type, wrong_value};
use json::{Cursor, Kind, Member, Span};

use super::{messages, texts};

/// The fields that are read here: a duplicate of one is refused.
#[derive(Debug, Clone, Copy)]
enum Field {
    Model,
    MainInput,
    Stream,
    StreamOptions,
    Choices,
    MaxTokens,
    MaxCompletionTokens,
    User,
    SafetyIdentifier,
    ServiceTier,
}

/// The number of the first field that only one operation has.
const OWN: u16 = Field::ServiceTier as u16 + 1;

/// What an operation of OpenAI's API has in its requests, beside the fields that all have.
#[derive(Debug, Clone, Copy)]
pub struct RequestFields {
    /// The field of the main input.
    pub main_input: &'static str,
    pub input: Input,
    pub model: ModelField,
    /// The fields that the operation reads itself; at most five.
    pub own: &'static [&'static str],
}

/// The form of a request's main input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    Messages,
    /// A text, tokens, or an array of either.
    Texts,
    /// One text. Such a request can't ask for usage in its stream.
    OneText,
}

/// Whether a request names its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelField {
    Required,
    /// The model where the request names none.
    Default(&'static str),
    /// The model is that of the object which the request is about.
    Inherited,
}

impl RequestFields {
    /// Those of Chat Completions.
    pub const MESSAGES: Self = Self::of("messages", Input::Messages);

    pub const fn of(main_input: &'static str, input: Input) -> Self {
        Self { main_input, input, model: ModelField::Required, own: &[] }
    }
}

/// Reads the value of an operation's own field.
pub type ReadOwn<'r> = &'r mut dyn FnMut(&str, &mut Cursor<'_>) -> Result<(), Box<Fault>>;

/// A request, as far as the fields go that all have.
#[derive(Debug)]
pub struct ReadRequest {
    pub request: Request,
    /// The characters of the one text that is its input.
    pub characters: u64,
}

/// What was read so far.
struct Draft<'r> {
    fields: &'static RequestFields,
    read_own: ReadOwn<'r>,
    seen: SeenFields,
    request: Request,
    characters: u64,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    user: Option<Span>,
    safety_identifier: Option<Span>,
}

/// Reads and validates a request. The whole body is checked as JSON and UTF-8; the fields read here are
/// checked for their type and for duplicates; all others pass.
pub fn decode_request(body: &Bytes) -> Result<Request, Box<Fault>> {
    read_common(body, &RequestFields::MESSAGES).map(|read| read.request)
}

/// As `decode_request`, for an operation without fields of its own.
pub fn read_common(body: &Bytes, fields: &'static RequestFields) -> Result<ReadRequest, Box<Fault>> {
    read_request(body, fields, &mut |_, _| Ok(()))
}

/// As `decode_request`, for any operation; `read_own` reads its own fields.
pub fn read_request(
    body: &Bytes,
    fields: &'static RequestFields,
    read_own: ReadOwn<'_>,
) -> Result<ReadRequest, Box<Fault>> {
    not_empty(body)?;
    let mut cursor = open_object(body)?;
    let open = cursor.position();
    let insert = (Span::new(open + 1, open + 1), r#""stream_options":{"include_usage":true},"#);
    let mut draft = Draft {
        fields,
        read_own,
        seen: SeenFields::default(),
        request: Request {
            spans: RequestSpans {
                usage: (fields.input != Input::OneText).then_some(insert),
                ..RequestSpans::default()
            },
            ..Request::default()
        },
        characters: 0,
        max_tokens: None,
        max_completion_tokens: None,
        user: None,
        safety_identifier: None,
    };
    cursor.object(|cursor, member| draft.read(cursor, &member))?;
    cursor.end()?;
    draft.finish()
}

impl Draft<'_> {
    fn read(&mut self, cursor: &mut Cursor<'_>, member: &Member<'_>) -> Result<(), Box<Fault>> {
        let name = member.key.decode();
        let field = match &*name {
            "model" => Field::Model,
            name if name == self.fields.main_input => Field::MainInput,
            "stream" => Field::Stream,
            "stream_options" if self.fields.input != Input::OneText => Field::StreamOptions,
            "n" => Field::Choices,
            "max_tokens" => Field::MaxTokens,
            "max_completion_tokens" => Field::MaxCompletionTokens,
            "user" => Field::User,
            "safety_identifier" => Field::SafetyIdentifier,
            "service_tier" => Field::ServiceTier,
            // The answer does not report searches, so they are recognised by the request.
            "web_search_options" | "search_parameters" => {
                if cursor.kind()? == Kind::Object {
                    self.request.terms.hosted.add(HostedTool::WebSearchPreview);
                }
                cursor.skip()?;
                return Ok(());
            }
            // Required where the answer is to be sound.
            "audio" if self.fields.input == Input::Messages => {
                self.request.speaks = cursor.kind()? == Kind::Object;
                cursor.skip()?;
                return Ok(());
            }
            // Tool definitions are part of the prompt that the model reads.
            "tools" | "functions" => {
                read_own_tools(cursor, &mut self.request)?;
                return Ok(());
            }
            name => {
                let Some(number) = self.fields.own.iter().zip(0..).find(|(own, _)| **own == name) else {
                    cursor.skip()?;
                    return Ok(());
                };
                self.seen.add(OWN + number.1, || name.to_owned())?;
                return (self.read_own)(name, cursor);
            }
        };
        self.seen.add(field as u16, || name.to_string())?;
        self.read_field(cursor, field, &name)
    }

    fn read_field(&mut self, cursor: &mut Cursor<'_>, field: Field, name: &str) -> Result<(), Box<Fault>> {
        match field {
            Field::Model => read_model(cursor, &mut self.request)?,
            Field::MainInput => match self.fields.input {
                Input::Messages => {
                    self.request.prompt_bytes += messages::read(cursor, &mut self.request.files)?;
                }
                Input::Texts => self.request.prompt_bytes += texts::read(cursor, name)?,
                Input::OneText => {
                    let text = texts::read_one(cursor, name)?;
                    self.request.prompt_bytes += text.bytes;
                    self.characters = text.characters;
                }
            },
            Field::Stream => self.request.stream = optional_boolean(cursor, name)?.unwrap_or(false),
            Field::StreamOptions => self.read_stream_options(cursor)?,
            Field::Choices => self.read_choices(cursor)?,
            Field::MaxTokens => self.max_tokens = optional_count(cursor, name)?,
            Field::MaxCompletionTokens => self.max_completion_tokens = optional_count(cursor, name)?,
            Field::User => self.user = optional_text(cursor, name)?,
            Field::SafetyIdentifier => self.safety_identifier = optional_text(cursor, name)?,
            Field::ServiceTier => self.request.terms.tier = optional_tier(cursor)?,
        }
        Ok(())
    }

    fn read_stream_options(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        let start = cursor.position();
        if kind == Kind::Null {
            let span = cursor.skip()?;
            self.request.spans.usage = Some((span, r#"{"include_usage":true}"#));
            return Ok(());
        }
        if kind != Kind::Object {
            return Err(wrong_type("stream_options".to_owned(), "an object", kind));
        }
        let mut members = 0;
        let mut include_usage = None;
        cursor.object(|cursor, member| {
            members += 1;
            if !member.key.is("include_usage") {
                cursor.skip()?;
                return Ok(());
            }
            if include_usage.is_some() {
                return Err(duplicate("stream_options.include_usage".to_owned()));
            }
            cursor.kind()?;
            let from = cursor.position();
            let requested = optional_boolean(cursor, "stream_options.include_usage")?;
            include_usage = Some((Span::new(from, cursor.position()), requested == Some(true)));
            Ok::<(), Box<Fault>>(())
        })?;
        let inside = Span::new(start + 1, start + 1);
        self.request.include_usage = matches!(include_usage, Some((_, true)));
        self.request.spans.usage = match include_usage {
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
            Ok(0) => Err(too_small("n".to_owned(), 1)),
            _ => {
                let fix = format!("Send a whole number from 1 to {CHOICES_MAX}, or leave it out.");
                Err(wrong_value("n".to_owned(), "is out of range", fix))
            }
        }
    }

    fn finish(self) -> Result<ReadRequest, Box<Fault>> {
        let has = |field: Field| self.seen.has(field as u16);
        let mut request = self.request;
        match self.fields.model {
            _ if has(Field::Model) => {}
            ModelField::Required => {
                let fix = "Send the id of a model as GET /v1/models lists it.";
                return Err(missing("model".to_owned(), fix));
            }
            ModelField::Default(model) => model.clone_into(&mut request.model),
            ModelField::Inherited => {}
        }
        if !has(Field::MainInput) {
            let fix = match self.fields.input {
                Input::Messages => "Send an array of messages, each with a role.",
                Input::Texts => "Send a string, or an array of strings.",
                Input::OneText => "Send a string.",
            };
            return Err(missing(self.fields.main_input.to_owned(), fix));
        }
        request.choices = request.choices.max(1);
        request.max_output_tokens = self.max_completion_tokens.or(self.max_tokens);
        request.spans.end_user = self.safety_identifier.or(self.user);
        Ok(ReadRequest { request, characters: self.characters })
    }
}

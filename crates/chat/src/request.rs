//! Decodes a request of OpenAI's API in one pass: the fields that routing and accounting read.

use bytes::Bytes;
use conversation::fields::{optional_tier, read_model};
use conversation::request::Request;
use conversation::video;
use domain::limits::CHOICES_MAX;
use domain::{Fault, HostedTool};
use json::fields::{SeenFields, not_empty, open_object, optional_boolean, optional_count, optional_text};
use json::refusal::{duplicate, missing, too_small, wrong_type, wrong_value};
use json::{Cursor, Kind, Member, Span};

use super::texts::{self, Documents};
use super::{embed, messages};

/// The default moderation model, as OpenAI has it.
const MODERATION_MODEL: &str = "omni-moderation-latest";

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
    /// The encoding of embedding vectors.
    EncodingFormat,
    /// The documents to rerank.
    Documents,
    /// The length of a video.
    Seconds,
    ServiceTier,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Draft {
    main_input: MainInput,
    seen: SeenFields,
    request: Request,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    user: Option<Span>,
    safety_identifier: Option<Span>,
    documents: Documents,
}

/// Reads and validates a request. The whole body is checked as JSON and UTF-8; the fields read here are
/// checked for their type and for duplicates; all others pass.
///
/// # Errors
/// What is wrong, where, and how to fix it.
pub fn decode_request(body: &Bytes) -> Result<Request, Box<Fault>> {
    decode_of(body, MainInput::Messages)
}

/// The main input of a request, and the field that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum MainInput {
    #[default]
    Messages,
    /// A text to complete.
    Prompt,
    /// Inputs to embed.
    Input,
    /// Inputs to moderate, by a model that need not be named.
    Moderated,
    /// The prompt of an image.
    Image,
    /// The text to speak.
    Speech,
    /// The query to rerank documents by.
    Query,
    /// The prompt of a video.
    Video,
    /// The prompt of a remix: changes to an existing video, whose model it uses.
    Remix,
}

impl MainInput {
    const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Prompt | Self::Image | Self::Video | Self::Remix => "prompt",
            Self::Input | Self::Moderated | Self::Speech => "input",
            Self::Query => "query",
        }
    }

    /// Whether the request can ask for usage in the stream.
    const fn has_stream_options(self) -> bool {
        !self.is_one_text()
    }

    const fn is_one_text(self) -> bool {
        matches!(self, Self::Image | Self::Speech | Self::Query | Self::Video | Self::Remix)
    }
}

/// As `decode_request`, for any main input.
pub(super) fn decode_of(body: &Bytes, main_input: MainInput) -> Result<Request, Box<Fault>> {
    not_empty(body)?;
    let mut cursor = open_object(body)?;
    let mut draft = Draft { main_input, ..Draft::default() };
    let open = cursor.position();
    draft.request.usage_edit = main_input
        .has_stream_options()
        .then(|| (Span::new(open + 1, open + 1), r#""stream_options":{"include_usage":true},"#));
    cursor.object(|cursor, member| draft.read(cursor, &member))?;
    cursor.end()?;
    draft.finish()
}

impl Draft {
    fn read(&mut self, cursor: &mut Cursor<'_>, member: &Member<'_>) -> Result<(), Box<Fault>> {
        let name = member.key.decode();
        let field = match &*name {
            "model" => Field::Model,
            name if name == self.main_input.name() => Field::MainInput,
            "stream" => Field::Stream,
            "stream_options" if self.main_input.has_stream_options() => Field::StreamOptions,
            "n" => Field::Choices,
            "max_tokens" => Field::MaxTokens,
            "max_completion_tokens" => Field::MaxCompletionTokens,
            "user" => Field::User,
            "safety_identifier" => Field::SafetyIdentifier,
            "encoding_format" if self.main_input == MainInput::Input => Field::EncodingFormat,
            "documents" if self.main_input == MainInput::Query => Field::Documents,
            "seconds" if self.main_input == MainInput::Video => Field::Seconds,
            "service_tier" => Field::ServiceTier,
            // The answer does not report searches, so they are recognised by the request.
            "web_search_options" | "search_parameters" => {
                if cursor.kind()? == Kind::Object {
                    self.request.terms.hosted.add(HostedTool::WebSearchPreview);
                }
                cursor.skip()?;
                return Ok(());
            }
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
        self.seen.add(field as u16, || name.to_string())?;
        self.read_field(cursor, field, &name)
    }

    fn read_field(&mut self, cursor: &mut Cursor<'_>, field: Field, name: &str) -> Result<(), Box<Fault>> {
        match field {
            Field::Model => read_model(cursor, &mut self.request)?,
            Field::MainInput if self.main_input == MainInput::Messages => {
                self.request.prompt_bytes += messages::read(cursor, &mut self.request.files)?;
            }
            Field::MainInput if self.main_input.is_one_text() => {
                let text = texts::read_one(cursor, name)?;
                self.request.prompt_bytes += text.bytes;
                if self.main_input == MainInput::Speech {
                    self.request.units.characters = text.characters;
                }
            }
            Field::MainInput => self.request.prompt_bytes += texts::read(cursor, name)?,
            Field::Documents => self.documents = texts::read_documents(cursor, name)?,
            Field::Seconds => self.request.units.video_ms = video::read_seconds(cursor, name)?,
            Field::Stream => self.request.stream = optional_boolean(cursor, name)?.unwrap_or(false),
            Field::StreamOptions => self.read_stream_options(cursor)?,
            Field::Choices => self.read_choices(cursor)?,
            Field::MaxTokens => self.max_tokens = optional_count(cursor, name)?,
            Field::MaxCompletionTokens => self.max_completion_tokens = optional_count(cursor, name)?,
            Field::User => self.user = optional_text(cursor, name)?,
            Field::SafetyIdentifier => self.safety_identifier = optional_text(cursor, name)?,
            Field::ServiceTier => self.request.terms.tier = optional_tier(cursor)?,
            Field::EncodingFormat => self.request.vectors.as_base64 = embed::is_base64(cursor)?,
        }
        Ok(())
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
        self.request.usage_edit = match include_usage {
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

    fn finish(self) -> Result<Request, Box<Fault>> {
        let has = |field: Field| self.seen.has(field as u16);
        let mut request = self.request;
        if !has(Field::Model) && self.main_input == MainInput::Moderated {
            MODERATION_MODEL.clone_into(&mut request.model);
        } else if !has(Field::Model) && self.main_input != MainInput::Remix {
            let fix = "Send the id of a model as GET /v1/models lists it.";
            return Err(missing("model".to_owned(), fix));
        }
        if !has(Field::MainInput) {
            let fix = match self.main_input {
                MainInput::Messages => "Send an array of messages, each with a role.",
                main_input if main_input.is_one_text() => "Send a text.",
                _ => "Send a text, or an array of texts.",
            };
            return Err(missing(self.main_input.name().to_owned(), fix));
        }
        request.choices = request.choices.max(1);
        match self.main_input {
            MainInput::Image => request.units.images = u64::from(request.choices),
            MainInput::Query if !has(Field::Documents) => {
                return Err(missing("documents".to_owned(), "Send an array of the texts to put in order."));
            }
            MainInput::Query => {
                // The query is read with each document.
                let question = request.prompt_bytes.saturating_mul(self.documents.count);
                request.prompt_bytes = self.documents.bytes.saturating_add(question);
                request.units.searches = self.documents.searches_max(request.prompt_bytes);
            }
            _ => {}
        }
        request.max_output_tokens = self.max_completion_tokens.or(self.max_tokens);
        request.end_user = self.safety_identifier.or(self.user);
        Ok(request)
    }
}

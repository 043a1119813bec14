//! Speech synthesis: a text read aloud.

use chat::{Input, RequestFields};
use conversation::request::Request;
use dialects::media::Media;
use dialects::{AnswerPath, AnswerStream};
use domain::{Fault, Grammar, Operation, Units, Usage, UsageSource};

use crate::ceiling;
use crate::extra_fields::ExtraFields;
use crate::spec::{CallSize, ContentType, Facts, ModelLimits, OperationSpec, RequestSource, Unsupported};

/// 150 words of six characters are a minute, which takes some 1,250 audio tokens.
const AUDIO_TOKENS_OF_TEN_CHARACTERS: u64 = 14;

const TEXT_FIX: &str = "Send the text to read aloud.";
const VOICE_FIX: &str = "Send the name of one of the model's voices.";

static FACTS: Facts = Facts {
    unsupported: Unsupported::new(
        "has no way to read texts aloud",
        "Use a model that speaks, such as GET /v2/capabilities lists.",
    ),
    counts_tokens: false,
    content_type: ContentType::Forwarded,
    ..Facts::TEXT
};
static FIELDS: RequestFields = RequestFields::of("input", Input::OneText);

#[derive(Debug)]
pub(crate) struct Speech;

impl OperationSpec for Speech {
    fn operation(&self) -> Operation {
        Operation::Speech
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    /// Audio is forwarded while it is synthesised, as events or as bytes.
    fn read_request(&self, source: RequestSource<'_>) -> Result<Request, Box<Fault>> {
        let read = chat::read_common(source.body, &FIELDS)?;
        let units = Units { characters: read.characters, ..read.request.units };
        Ok(Request { stream: true, units, ..read.request })
    }

    fn ceiling(&self, call: &CallSize<'_>, _model: ModelLimits) -> Usage {
        ceiling::of_media(call.request, call.request.prompt_bytes.max(call.body_bytes), 0)
    }

    /// The characters of the text.
    fn counted_in_units(&self, request: &Request, sells_tokens: Option<bool>) -> Option<Usage> {
        if sells_tokens == Some(true) {
            return None;
        }
        let units = Units { characters: request.units.characters, ..Units::default() };
        Some(Usage { units, source: UsageSource::Provider, ..Usage::default() })
    }

    fn estimated_units(&self, call: &CallSize<'_>) -> Units {
        let characters = call.request.units.characters;
        let audio_out = characters.saturating_mul(AUDIO_TOKENS_OF_TEN_CHARACTERS).div_ceil(10);
        Units { characters, audio_out, ..Units::default() }
    }

    fn answer_stream(&self, _path: AnswerPath) -> AnswerStream {
        AnswerStream::media(Media::Speech)
    }
}

/// A request for speech, read for a vendor with a format of its own.
#[derive(Debug)]
pub struct SpeechRequest<'a> {
    pub text: String,
    pub voice: String,
    /// A number as the client wrote it.
    pub speed: Option<String>,
    /// The file's format: OpenAI's `response_format`.
    pub format: Option<String>,
    /// The client wants events instead of a file.
    pub wants_events: bool,
    pub extra: ExtraFields<'a>,
}

impl<'a> SpeechRequest<'a> {
    /// Reads the body of a request that was decoded before.
    pub fn read(client: Grammar, body: &'a [u8], is_lenient: bool) -> Result<Self, Box<Fault>> {
        let mut fields = ExtraFields::read(client, body, is_lenient)?;
        Ok(Self {
            text: fields.needed_text("input", TEXT_FIX)?,
            voice: fields.needed_text("voice", VOICE_FIX)?,
            speed: fields.number("speed")?,
            format: fields.text("response_format")?,
            wants_events: fields.text("stream_format")?.is_some_and(|format| format != "audio"),
            extra: fields,
        })
    }
}

//! Speech synthesis: a text read aloud.

use chat::{Input, RequestFields};
use conversation::request::Request;
use dialects::media::Media;
use dialects::{AnswerPath, AnswerStream};
use domain::{Fault, Operation, Units, Usage, UsageSource};

use crate::ceiling;
use crate::spec::{CallSize, ContentType, Facts, ModelLimits, OperationSpec, RequestSource, Unsupported};

/// 150 words of six characters are a minute, which takes some 1,250 audio tokens.
const AUDIO_TOKENS_OF_TEN_CHARACTERS: u64 = 14;

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

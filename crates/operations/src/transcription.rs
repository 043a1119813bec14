//! Transcription of a recording, in its own language or in English translation.

mod request;
mod vendor;

use bytes::Bytes;
use conversation::answer::StreamFault;
use dialects::{AnswerPath, AnswerStream, BufferedAnswer};
use domain::limits::SOUND_UNITS_OF_MS_MAX;
use domain::{Operation, Units, Usage};

use crate::ceiling;
use crate::form::FormFields;
use crate::spec::{Body, CallSize, ContentType, Facts, ModelLimits, OperationSpec, Unsupported};

pub use request::{FORMAT, STREAM, TIMES, TranscriptionRequest};
pub use vendor::{TranscriptChunk, TranscriptOptions, Transcription};

/// The part that holds the recording.
pub const FILE: &str = "file";
/// Audio of 128 kbit/s.
const BYTES_PER_S: u64 = 16_000;
/// No codec compresses a second of speech to less.
const BYTES_PER_S_MIN: u64 = 500;
const MS_PER_TOKEN: u64 = 100;

static FORM: FormFields = FormFields { has_stream: true, ..TRANSLATION_FORM };
static TRANSLATION_FORM: FormFields = FormFields { known: KNOWN_PARTS, ..FormFields::FILE };
pub(crate) const KNOWN_PARTS: &[&str] = &[
    "chunking_strategy",
    "context_bias",
    "diarize",
    "file",
    "include",
    "known_speaker_names",
    "known_speaker_references",
    "language",
    "max_alternatives",
    "model",
    "prompt",
    "response_format",
    "stream",
    "temperature",
    "timestamp_granularities",
    "user",
    "vad_model",
];

static FACTS: Facts = Facts {
    body: Body::Form(&FORM),
    content_type: ContentType::Recognised,
    has_recording: true,
    unsupported: Unsupported::new(
        "has no way to transcribe audio",
        "Use a model that transcribes, such as GET /v2/capabilities lists.",
    ),
    ..Facts::TEXT
};
static TRANSLATION: Facts = Facts {
    body: Body::Form(&TRANSLATION_FORM),
    unsupported: Unsupported::new(
        "has no way to translate audio into English",
        "Use a model that translates recordings, such as GET /v2/capabilities lists.",
    ),
    ..FACTS
};

/// The operations that answer with the text of a recording.
#[derive(Debug)]
pub(crate) enum RecordingOperation {
    Transcribe,
    Translate,
}

pub(crate) use RecordingOperation::{Transcribe, Translate};

impl OperationSpec for RecordingOperation {
    fn operation(&self) -> Operation {
        match self {
            Transcribe => Operation::Transcribe,
            Translate => Operation::Translate,
        }
    }

    fn facts(&self) -> &'static Facts {
        match self {
            Transcribe => &FACTS,
            Translate => &TRANSLATION,
        }
    }

    /// The text of the longest recording that the form can hold.
    fn ceiling(&self, call: &CallSize<'_>, model: ModelLimits) -> Usage {
        let heard = heard(call, BYTES_PER_S_MIN);
        let billed = heard.audio_ms.saturating_mul(SOUND_UNITS_OF_MS_MAX);
        ceiling::of_text(call.request, 0, model, Units { billed, ..heard })
    }

    fn estimated_units(&self, call: &CallSize<'_>) -> Units {
        heard(call, BYTES_PER_S)
    }

    fn buffered_answer(&self, path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::buffered_transcript(path, body)
    }

    fn answer_stream(&self, path: AnswerPath) -> AnswerStream {
        AnswerStream::transcript(path.client)
    }
}

/// How long a recording of unknown length is at so many bytes per second.
fn heard(call: &CallSize<'_>, bytes_per_s: u64) -> Units {
    let audio_ms = call.form_bytes_max.saturating_mul(1_000) / bytes_per_s.max(1);
    Units { audio_in: audio_ms / MS_PER_TOKEN, audio_ms, ..Units::default() }
}

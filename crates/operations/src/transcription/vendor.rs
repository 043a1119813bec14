//! A transcript of a vendor with a format of its own, written as a transcription response of OpenAI's API.

use bytes::Bytes;
use conversation::answer::AnswerFacts;
use conversation::video::millis;
use dialects::BufferedAnswer;
use domain::{Units, Usage, UsageSource};
use serde_json::{Value as Json, json};

use super::request::TranscriptionRequest;

/// The form in which the client wants the transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranscriptOptions {
    form: TranscriptForm,
    is_translation: bool,
    language: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TranscriptForm {
    Json,
    Text,
    Segments,
    Words,
}

impl TranscriptOptions {
    pub fn of(request: &TranscriptionRequest<'_>) -> Self {
        let form = match (request.format.as_deref(), request.times.first().map(String::as_str)) {
            (Some("text"), _) => TranscriptForm::Text,
            (Some("verbose_json"), Some("word")) => TranscriptForm::Words,
            (Some("verbose_json"), _) => TranscriptForm::Segments,
            _ => TranscriptForm::Json,
        };
        Self { form, is_translation: request.is_translation, language: request.language.clone() }
    }

    /// The content type of a transcript that is not JSON.
    pub fn content_type(&self) -> Option<&'static str> {
        (self.form == TranscriptForm::Text).then_some("text/plain; charset=utf-8")
    }
}

/// A transcript.
#[derive(Debug)]
pub struct Transcription<'a> {
    pub text: &'a str,
    /// The language that the model recognised.
    pub language: Option<&'a str>,
    pub chunks: Vec<TranscriptChunk<'a>>,
}

/// A segment or word of a transcript, with its times in seconds.
#[derive(Debug)]
pub struct TranscriptChunk<'a> {
    pub text: &'a str,
    pub from: Option<f64>,
    pub until: Option<f64>,
}

impl Transcription<'_> {
    /// Writes the response that the client waits for.
    pub fn answer(&self, options: &TranscriptOptions) -> BufferedAnswer {
        // The vendor reports no duration, so this is the end of the last chunk.
        let until = self.chunks.iter().filter_map(|chunk| chunk.until).fold(0.0, f64::max);
        let rendered = match options.form {
            TranscriptForm::Text => format!("{}\n", self.text),
            TranscriptForm::Json => json!({"text": self.text}).to_string(),
            TranscriptForm::Segments | TranscriptForm::Words => self.verbose(options, until).to_string(),
        };
        let units = Units { audio_ms: millis(&until.to_string()).unwrap_or(0), ..Units::default() };
        let usage = Usage { units, source: UsageSource::Estimate, ..Usage::default() };
        let facts = AnswerFacts { usage: Some(usage), content_bytes: self.text.len() as u64 };
        BufferedAnswer::plain(Bytes::from(rendered), facts)
    }

    fn verbose(&self, options: &TranscriptOptions, until: f64) -> Json {
        let mut document = json!({
            "task": if options.is_translation { "translate" } else { "transcribe" },
            "language": options.language.as_deref().or(self.language),
            "duration": until,
            "text": self.text,
        });
        let (name, list): (&str, Vec<Json>) = match options.form {
            TranscriptForm::Words => {
                let word = |chunk: &TranscriptChunk<'_>| json!({"word": chunk.text, "start": chunk.from, "end": chunk.until});
                ("words", self.chunks.iter().map(word).collect())
            }
            _ => {
                let segment = |(id, chunk): (usize, &TranscriptChunk<'_>)| json!({"id": id, "start": chunk.from, "end": chunk.until, "text": chunk.text});
                ("segments", self.chunks.iter().enumerate().map(segment).collect())
            }
        };
        if let Some(document) = document.as_object_mut() {
            document.insert(name.to_owned(), list.into());
        }
        document
    }
}

//! The form of a request to transcribe a recording, read for a vendor that takes no forms.

use conversation::form::Form;
use domain::{Fault, FaultClass, Operation};
use json::refusal::missing;

use super::FILE;
use crate::form_parts::parts;

pub const FORMAT: &str = "response_format";
pub const TIMES: &str = "timestamp_granularities[]";
pub const STREAM: &str = "stream";
/// What a client sends in `stream` that wants none.
const NO_STREAM: [&str; 3] = ["false", "0", "null"];

/// A request to transcribe a recording.
#[derive(Debug)]
pub struct TranscriptionRequest<'a> {
    pub recording: &'a [u8],
    /// The text is to be English, whatever is spoken.
    pub is_translation: bool,
    pub language: Option<String>,
    /// The form of the transcript: OpenAI's `response_format`.
    pub format: Option<String>,
    /// What gets times: OpenAI's `timestamp_granularities[]`.
    pub times: Vec<String>,
    pub stream: bool,
    /// The other parts that say something, in their order.
    pub extra: Vec<(String, String)>,
}

impl<'a> TranscriptionRequest<'a> {
    /// Reads a form that was checked before.
    ///
    /// # Errors
    /// It is incomplete.
    pub fn read(operation: Operation, form: Option<&Form>, body: &'a [u8]) -> Result<Self, Box<Fault>> {
        let parts = form.and_then(|form| parts(form, body)).ok_or_else(not_whole)?;
        let mut request = Self {
            recording: &[],
            is_translation: operation == Operation::Translate,
            language: None,
            format: None,
            times: Vec::new(),
            stream: false,
            extra: Vec::new(),
        };
        let mut recording = None;
        for (part, bytes) in parts {
            if part.is_file && part.name == FILE {
                recording = Some(bytes);
                continue;
            }
            let text = String::from_utf8_lossy(bytes);
            match text.trim() {
                "" => {}
                text => request.take(part.name, text),
            }
        }
        let recording =
            recording.ok_or_else(|| missing(FILE.to_owned(), "Send the file as a part of the form."))?;
        Ok(Self { recording, ..request })
    }

    fn take(&mut self, name: String, text: &str) {
        match (&*name, text) {
            // Most clients send the defaults.
            ("model", _) | ("chunking_strategy", "auto") => {}
            ("temperature", text) if text.parse() == Ok(0.0) => {}
            ("language", text) => self.language = Some(text.to_owned()),
            (FORMAT, text) => self.format = Some(text.to_owned()),
            (TIMES, text) => self.times.push(text.to_owned()),
            (STREAM, text) => self.stream = !NO_STREAM.contains(&&*text.to_ascii_lowercase()),
            (_, text) => self.extra.push((name, text.to_owned())),
        }
    }
}

fn not_whole() -> Box<Fault> {
    let message = "The recording arrived incomplete, and this model doesn't accept recordings in pieces.";
    Box::new(Fault::new(FaultClass::BadRequest, "invalid_form", message).fix("Send the whole form again."))
}

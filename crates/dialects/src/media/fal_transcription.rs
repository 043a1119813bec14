//! Transcription by fal's apps: the client's form becomes JSON with the recording as a data URL, and the
//! transcript becomes a response in OpenAI's format.

use crate::options::TranscriptForm;
use crate::options::TranscriptOptions;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::form::Form;
use conversation::target::TranslatedRequest;
use conversation::video::millis;
use domain::{Fault, FaultClass, Grammar, Operation, Units, Usage, UsageSource};
use json::refusal::{missing, wrong_value};
use serde_json::{Value as Json, json};

use super::fal_images::json_string;
use super::video_form::parts;
use super::words::{UnsupportedParams, object};
use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;

const FILE: &str = "file";
const LANGUAGE: &str = "language";
const PROMPT: &str = "prompt";
const FORMAT: &str = "response_format";
const TIMES: &str = "timestamp_granularities[]";
const STREAM: &str = "stream";
const FORMAT_FIX: &str = "Send \"json\", \"text\" or \"verbose_json\".";
const TIMES_FIX: &str = "Send \"segment\", or leave it out.";
const ONE_TIME_FIX: &str = "Send \"segment\" or \"word\", and not both.";
const TEMPERATURE: &str = "temperature";
/// The magic bytes of audio formats, at their offset, with the media type. The last entry is the default.
const SOUNDS: [(usize, &[u8], &str); 7] = [
    (0, b"RIFF", "audio/wav"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (4, b"ftyp", "audio/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "audio/webm"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"", "audio/mpeg"),
];

/// The features of a transcription app.
#[derive(Debug, Clone, Copy)]
pub struct FalTranscriptionParams {
    /// Whether it reports timestamps per word.
    pub has_words: bool,
    pub has_prompt: bool,
}

impl TranscriptOptions {
    /// Reads it from a request that was translated before.
    #[must_use]
    pub fn of(operation: Operation, form: Option<&Form>, body: &[u8]) -> Self {
        let parts = form.and_then(|form| parts(form, body)).unwrap_or_default();
        let field = |name: &str| {
            let found = parts.iter().find(|(part, _)| part.name == name && !part.is_file);
            found.map(|(_, field)| String::from_utf8_lossy(field).trim().to_owned())
        };
        let form = match (field(FORMAT).as_deref(), field(TIMES).as_deref()) {
            (Some("text"), _) => TranscriptForm::Text,
            (Some("verbose_json"), Some("word")) => TranscriptForm::Words,
            (Some("verbose_json"), _) => TranscriptForm::Segments,
            _ => TranscriptForm::Json,
        };
        let language = field(LANGUAGE).filter(|language| !language.is_empty());
        Self { form, is_translation: operation == Operation::Translate, language }
    }

    #[must_use]
    pub fn is_text(&self) -> bool {
        self.form == TranscriptForm::Text
    }
}

/// Translates a client's form into JSON for a fal app.
///
/// # Errors
/// The form is invalid or incomplete, or needs something that the app lacks and that may not be dropped.
pub fn write_fal_transcription(
    (client, operation): (Grammar, Operation),
    form: Option<&Form>,
    body: &[u8],
    words: FalTranscriptionParams,
    is_lenient: bool,
) -> Result<TranslatedRequest, Box<Fault>> {
    let mut unsupported = UnsupportedParams::new(client, is_lenient);
    let parts = form.and_then(|form| parts(form, body)).ok_or_else(not_whole)?;
    let (mut fields, mut times) = (Vec::new(), Vec::new());
    for (part, bytes) in &parts {
        if part.is_file && part.name == FILE {
            fields.push(("audio_url", json_string(&inline(bytes))));
            continue;
        }
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim();
        match &*part.name {
            _ if text.is_empty() => {}
            "model" => {}
            LANGUAGE => fields.push((LANGUAGE, json_string(text))),
            PROMPT if words.has_prompt => fields.push((PROMPT, json_string(text))),
            FORMAT if ["json", "text", "verbose_json"].contains(&text) => {}
            FORMAT => {
                let message = "asks for a form that what this app hears is not told in";
                return Err(conversation::embed::unsayable(FORMAT.to_owned(), message, FORMAT_FIX));
            }
            TIMES => times.push(text.to_owned()),
            STREAM if ["false", "0", "null"].contains(&&*text.to_ascii_lowercase()) => {}
            STREAM => {
                let fix = "Leave \"stream\" out.";
                return Err(conversation::embed::unsayable(
                    STREAM.to_owned(),
                    "asks for events, and this app tells of none",
                    fix,
                ));
            }
            // The default, which most clients send.
            TEMPERATURE if text.parse() == Ok(0.0) => {}
            "chunking_strategy" if text == "auto" => {}
            name => unsupported.losses.drop_unknown(name, true),
        }
    }
    if fields.iter().all(|(name, _)| *name != "audio_url") {
        return Err(missing(FILE.to_owned(), "Send the file as a part of the form."));
    }
    fields.extend(level(&times, words)?.map(|level| ("chunk_level", json_string(level))));
    let task = if operation == Operation::Translate { "translate" } else { "transcribe" };
    fields.push(("task", json_string(task)));
    Ok(TranslatedRequest {
        body: Bytes::from(object(&fields)),
        dropped: unsupported.losses.finish(is_lenient)?,
    })
}

/// The `chunk_level`: what gets timestamps.
fn level(times: &[String], words: FalTranscriptionParams) -> Result<Option<&'static str>, Box<Fault>> {
    match times {
        [] => Ok(None),
        [one] if one == "segment" => Ok(Some("segment")),
        [one] if one == "word" && words.has_words => Ok(Some("word")),
        [_, _, ..] => Err(conversation::embed::unsayable(
            TIMES.to_owned(),
            "asks for more times than one call tells",
            ONE_TIME_FIX,
        )),
        [_] => Err(wrong_value(
            TIMES.to_owned(),
            "asks for times that this app does not tell",
            TIMES_FIX.to_owned(),
        )),
    }
}

fn inline(bytes: &[u8]) -> String {
    let is =
        |(at, start, _): &&(usize, &[u8], &str)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(start));
    let media = SOUNDS.iter().find(is).map_or("audio/mpeg", |(_, _, media)| media);
    format!("data:{media};base64,{}", STANDARD.encode(bytes))
}

fn not_whole() -> Box<Fault> {
    let message = "The recording did not come whole, and this app takes none in pieces.";
    Box::new(Fault::new(FaultClass::BadRequest, "invalid_form", message).fix("Send the whole form again."))
}

/// Writes the transcript as the response that the client waits for.
pub(crate) fn transcript_answer(
    answer_path: &AnswerPath,
    body: &[u8],
) -> Result<BufferedAnswer, StreamFault> {
    let no_answer = || StreamFault::Broken("not_an_answer");
    let ask = answer_path.transcript.as_ref().ok_or_else(no_answer)?;
    let answer: Json = serde_json::from_slice(chat::operations::document(body)?)
        .map_err(|_| StreamFault::Broken("bad_json"))?;
    let text = answer.get("text").and_then(Json::as_str).ok_or_else(no_answer)?;
    let chunks: Vec<Chunk<'_>> =
        answer.get("chunks").and_then(Json::as_array).into_iter().flatten().filter_map(Chunk::of).collect();
    let until = chunks.iter().filter_map(|chunk| chunk.until).fold(0.0, f64::max);
    let rendered = match ask.form {
        TranscriptForm::Text => format!("{text}\n"),
        TranscriptForm::Json => json!({"text": text}).to_string(),
        TranscriptForm::Segments | TranscriptForm::Words => {
            verbose(ask, (text, until), &chunks, &answer).to_string()
        }
    };
    let units = Units { audio_ms: millis(&until.to_string()).unwrap_or(0), ..Units::default() };
    let usage = Usage { units, source: UsageSource::Estimate, ..Usage::default() };
    let facts = AnswerFacts { usage: Some(usage), content_bytes: text.len() as u64 };
    Ok(BufferedAnswer::plain(Bytes::from(rendered), facts))
}

/// A segment or word of the transcript, with its timestamps in seconds.
struct Chunk<'a> {
    text: &'a str,
    from: Option<f64>,
    until: Option<f64>,
}

impl<'a> Chunk<'a> {
    fn of(chunk: &'a Json) -> Option<Self> {
        let time = |at: usize| chunk.get("timestamp")?.get(at)?.as_f64();
        Some(Self { text: chunk.get("text")?.as_str()?, from: time(0), until: time(1) })
    }
}

fn verbose(ask: &TranscriptOptions, (text, until): (&str, f64), chunks: &[Chunk<'_>], answer: &Json) -> Json {
    let inferred = answer.get("inferred_languages").or_else(|| answer.get("languages"));
    let inferred = inferred.and_then(|languages| languages.get(0)).and_then(Json::as_str);
    let mut document = json!({
        "task": if ask.is_translation { "translate" } else { "transcribe" },
        "language": ask.language.as_deref().or(inferred),
        // fal reports no duration, so this is the end of the last chunk.
        "duration": until,
        "text": text,
    });
    let times = |chunk: &Chunk<'_>| (chunk.from, chunk.until);
    let (name, list): (&str, Vec<Json>) = match ask.form {
        TranscriptForm::Words => {
            let word = |chunk: &Chunk<'_>| json!({"word": chunk.text, "start": times(chunk).0, "end": times(chunk).1});
            ("words", chunks.iter().map(word).collect())
        }
        _ => {
            let segment = |(id, chunk): (usize, &Chunk<'_>)| json!({"id": id, "start": times(chunk).0, "end": times(chunk).1, "text": chunk.text});
            ("segments", chunks.iter().enumerate().map(segment).collect())
        }
    };
    if let Some(document) = document.as_object_mut() {
        document.insert(name.to_owned(), list.into());
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FormReader;

    const ALL: FalTranscriptionParams = FalTranscriptionParams { has_words: true, has_prompt: true };
    const FEW: FalTranscriptionParams = FalTranscriptionParams { has_words: false, has_prompt: false };

    fn form(parts: &[(&str, &str)]) -> (Form, Vec<u8>) {
        let mut body = String::new();
        for (name, value) in [("model", "m")].iter().chain(parts) {
            let file = if *name == FILE { "; filename=\"a\"" } else { "" };
            let head = format!("Content-Disposition: form-data; name=\"{name}\"{file}");
            body.push_str(&format!("--xyz\r\n{head}\r\n\r\n{value}\r\n"));
        }
        body.push_str("--xyz--\r\n");
        let mut reader = FormReader::new("multipart/form-data; boundary=xyz", Operation::Transcribe).unwrap();
        reader.push(body.as_bytes()).unwrap();
        let form = reader.request(body.as_bytes()).unwrap().form.unwrap();
        (*form, body.into_bytes())
    }

    fn translate(
        words: FalTranscriptionParams,
        parts: &[(&str, &str)],
        is_lenient: bool,
    ) -> Result<(Json, Vec<String>), Box<Fault>> {
        let (form, body) = form(parts);
        let who = (Grammar::Chat, Operation::Transcribe);
        let translated = write_fal_transcription(who, Some(&form), &body, words, is_lenient)?;
        Ok((serde_json::from_slice(&translated.body).unwrap(), translated.dropped))
    }

    #[test]
    fn a_form_is_a_document_that_holds_the_recording() {
        let parts = [
            (LANGUAGE, "de"),
            (FILE, "RIFFa"),
            (PROMPT, "sea"),
            (TIMES, "word"),
            (TEMPERATURE, "0"),
            (STREAM, "false"),
            (FORMAT, "verbose_json"),
        ];
        let expected = json!({
            "language": "de", "audio_url": "data:audio/wav;base64,UklGRmE=", "prompt": "sea",
            "chunk_level": "word", "task": "transcribe",
        });
        assert_eq!(translate(ALL, &parts, false).unwrap(), (expected, vec![]));
        let (form, body) = form(&parts);
        let who = (Grammar::Chat, Operation::Transcribe);
        let cut = write_fal_transcription(who, Some(&form), &body[..body.len() - 4], ALL, true);
        assert_eq!(cut.unwrap_err().code, "invalid_form");
        assert_eq!(translate(ALL, &[], false).unwrap_err().param.as_deref(), Some(FILE));
    }

    #[test]
    fn what_there_are_no_words_for_is_refused_or_dropped_by_name() {
        for (name, value, is_droppable) in [
            (PROMPT, "sea", true),
            (TEMPERATURE, "0.5", true),
            ("include[]", "logprobs", true),
            (FORMAT, "srt", false),
            (STREAM, "true", false),
            (TIMES, "word", false),
        ] {
            let parts = [(FILE, "ID3"), (name, value)];
            assert_eq!(translate(FEW, &parts, false).unwrap_err().param.as_deref(), Some(name), "{name}");
            let lenient = translate(FEW, &parts, true).map(|(_, dropped)| dropped);
            assert_eq!(lenient.ok(), is_droppable.then(|| vec![name.to_owned()]), "{name}");
        }
        let both = [(FILE, "ID3"), (TIMES, "word"), (TIMES, "segment")];
        assert_eq!(translate(ALL, &both, true).unwrap_err().param.as_deref(), Some(TIMES));
    }

    #[test]
    fn what_recordings_are_is_seen_by_how_they_begin() {
        for (bytes, media) in [
            (&b"OggS.."[..], "audio/ogg"),
            (b"fLaC", "audio/flac"),
            (b"\0\0\0\x18ftypM4A", "audio/mp4"),
            (b"\x1a\x45\xdf\xa3", "audio/webm"),
            (b"\xff\xfb\x90", "audio/mpeg"),
            (b"", "audio/mpeg"),
        ] {
            assert!(inline(bytes).starts_with(&format!("data:{media};base64,")), "{media}");
        }
    }
}

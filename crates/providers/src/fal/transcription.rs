//! Transcription by fal's apps: the client's form becomes JSON with the recording as a data URL.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::embed::unsayable;
use conversation::losses::DroppedFields;
use conversation::target::TranslatedRequest;
use dialects::{AnswerPath, BufferedAnswer, VendorAnswer, feature_names};
use domain::{Fault, Grammar};
use json::refusal::wrong_value;
use json::written::{json_object, json_string};
use operations::transcription::{
    FORMAT, STREAM, TIMES, TranscriptChunk, TranscriptOptions, Transcription, TranscriptionRequest,
};
use serde_json::Value as Json;

use super::address::app_path;
use crate::compatible::{self, EncodedBody};
use crate::{ModelRequest, Outgoing, Target};

const PROMPT: &str = "prompt";
const FORMAT_FIX: &str = "Send \"json\", \"text\" or \"verbose_json\".";
const TIMES_FIX: &str = "Send \"segment\", or leave it out.";
const ONE_TIME_FIX: &str = "Send \"segment\" or \"word\", and not both.";
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
struct Features {
    /// Whether it reports timestamps per word.
    has_words: bool,
    has_prompt: bool,
}

/// Transcription apps, each with the features that it supports. The parameters of others are unknown.
const LISTENERS: &[(&str, Features)] = &[
    ("fal-ai/whisper", Features { has_words: true, has_prompt: true }),
    ("fal-ai/wizper", Features { has_words: false, has_prompt: false }),
];
const LISTENER_FIX: &str = "Ask fal-ai/whisper or fal-ai/wizper.";

pub(super) fn generate(target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
    let path = app_path(target.upstream_model)?;
    let features = LISTENERS.iter().find(|(app, _)| *app == target.upstream_model);
    let (_, features) = features
        .ok_or_else(|| Box::new(compatible::unsupported_operation(ask.operation).fix(LISTENER_FIX)))?;
    let request = TranscriptionRequest::read(ask.operation, ask.request.form(), ask.body)?;
    let translated = write(ask.grammar, &request, *features, ask.is_lenient)?;
    let address = target.hosting.queue_url.as_deref().unwrap_or(target.base_url);
    let outgoing = EncodedBody::own(translated).into_document(compatible::join(address, &path), ask);
    Ok(outgoing.answered_by(TranscriptAnswer(TranscriptOptions::of(&request))))
}

/// Translates a transcription request into JSON for a fal app.
///
/// # Errors
/// The request needs something that the app lacks and that may not be dropped.
fn write(
    client: Grammar,
    request: &TranscriptionRequest<'_>,
    features: Features,
    is_lenient: bool,
) -> Result<TranslatedRequest, Box<Fault>> {
    if request.format.as_deref().is_some_and(|format| !["json", "text", "verbose_json"].contains(&format)) {
        let message = "asks for a format that this app doesn't produce";
        return Err(unsayable(FORMAT.to_owned(), message, FORMAT_FIX));
    }
    if request.stream {
        let message = "asks for events, and this app sends none";
        return Err(unsayable(STREAM.to_owned(), message, "Leave \"stream\" out."));
    }
    let mut losses = DroppedFields::of_vendor(client, feature_names);
    let mut fields = Vec::new();
    fields.extend(request.language.as_deref().map(|language| ("language", json_string(language))));
    for (name, text) in &request.extra {
        match &**name {
            PROMPT if features.has_prompt => fields.push((PROMPT, json_string(text))),
            name => losses.drop_unknown(name, true),
        }
    }
    fields.push(("audio_url", json_string(&inline(request.recording))));
    fields.extend(level(&request.times, features)?.map(|level| ("chunk_level", json_string(level))));
    let task = if request.is_translation { "translate" } else { "transcribe" };
    fields.push(("task", json_string(task)));
    Ok(TranslatedRequest { body: Bytes::from(json_object(&fields)), dropped: losses.finish(is_lenient)? })
}

/// The `chunk_level`: what gets timestamps.
fn level(times: &[String], features: Features) -> Result<Option<&'static str>, Box<Fault>> {
    match times {
        [] => Ok(None),
        [one] if one == "segment" => Ok(Some("segment")),
        [one] if one == "word" && features.has_words => Ok(Some("word")),
        [_, _, ..] => {
            Err(unsayable(TIMES.to_owned(), "asks for more times than one call tells", ONE_TIME_FIX))
        }
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

/// The transcript, to be written as the client asked for it.
#[derive(Debug)]
struct TranscriptAnswer(TranscriptOptions);

impl VendorAnswer for TranscriptAnswer {
    fn buffered(&self, _answer_path: &AnswerPath, body: &Bytes) -> Result<BufferedAnswer, StreamFault> {
        let answer: Json = serde_json::from_slice(chat::operations::document(body)?)
            .map_err(|_| StreamFault::Broken("bad_json"))?;
        let text = answer.get("text").and_then(Json::as_str);
        let text = text.ok_or(StreamFault::Broken("not_an_answer"))?;
        let inferred = answer.get("inferred_languages").or_else(|| answer.get("languages"));
        let language = inferred.and_then(|languages| languages.get(0)).and_then(Json::as_str);
        let chunks = answer.get("chunks").and_then(Json::as_array).into_iter().flatten();
        let chunks = chunks.filter_map(chunk).collect();
        Ok(Transcription { text, language, chunks }.answer(&self.0))
    }

    fn content_type(&self) -> Option<&'static str> {
        self.0.content_type()
    }
}

fn chunk(chunk: &Json) -> Option<TranscriptChunk<'_>> {
    let time = |at: usize| chunk.get("timestamp")?.get(at)?.as_f64();
    Some(TranscriptChunk { text: chunk.get("text")?.as_str()?, from: time(0), until: time(1) })
}

#[cfg(test)]
mod tests {
    use conversation::form::Form;
    use domain::Operation;
    use operations::FormReader;
    use operations::transcription::FILE;
    use serde_json::json;

    use super::*;

    const ALL: Features = Features { has_words: true, has_prompt: true };
    const FEW: Features = Features { has_words: false, has_prompt: false };

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
        let form = reader.request(body.as_bytes()).unwrap().form().unwrap().clone();
        (form, body.into_bytes())
    }

    fn translate(
        words: Features,
        parts: &[(&str, &str)],
        is_lenient: bool,
    ) -> Result<(Json, Vec<String>), Box<Fault>> {
        let (form, body) = form(parts);
        let request = TranscriptionRequest::read(Operation::Transcribe, Some(&form), &body)?;
        let translated = write(Grammar::Chat, &request, words, is_lenient)?;
        Ok((serde_json::from_slice(&translated.body).unwrap(), translated.dropped))
    }

    #[test]
    fn a_form_is_a_document_that_holds_the_recording() {
        let parts = [
            ("language", "de"),
            (FILE, "RIFFa"),
            (PROMPT, "sea"),
            (TIMES, "word"),
            ("temperature", "0"),
            (STREAM, "false"),
            (FORMAT, "verbose_json"),
        ];
        let expected = json!({
            "language": "de", "audio_url": "data:audio/wav;base64,UklGRmE=", "prompt": "sea",
            "chunk_level": "word", "task": "transcribe",
        });
        assert_eq!(translate(ALL, &parts, false).unwrap(), (expected, vec![]));
        let (form, body) = form(&parts);
        let cut = &body[..body.len() - 4];
        let cut = TranscriptionRequest::read(Operation::Transcribe, Some(&form), cut);
        assert_eq!(cut.unwrap_err().code, "invalid_form");
        assert_eq!(translate(ALL, &[], false).unwrap_err().param.as_deref(), Some(FILE));
    }

    #[test]
    fn what_there_are_no_words_for_is_refused_or_dropped_by_name() {
        for (name, value, is_droppable) in [
            (PROMPT, "sea", true),
            ("temperature", "0.5", true),
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

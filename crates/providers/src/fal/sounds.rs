//! Speech synthesis and transcription with fal's apps: each names the text parameter differently, and answers
//! with a file.

use dialects::{FalSpeechParams, FalTranscriptionParams, write_fal_speech, write_fal_transcription};
use domain::{Fault, Grammar};
use serde::Deserialize;

use super::{files, path_of};
use crate::compatible::{self, EncodedBody};
use crate::{FollowUp, IntermediateAnswer, ModelRequest, Outgoing, Target};

const PLAIN: FalSpeechParams = FalSpeechParams {
    text: "text",
    setting: None,
    voice: "voice",
    has_speed: true,
    format: None,
    always: &[],
    passthrough: &["seed", "language_boost", "stability", "similarity_boost", "style", "temperature"],
};
/// Apps by name prefix, each with the peculiarities of its parameters; the last entry applies to all others.
const APPS: &[(&str, FalSpeechParams)] = &[
    ("fal-ai/kokoro/", FalSpeechParams { text: "prompt", format: Some("wav"), passthrough: &[], ..PLAIN }),
    (
        "fal-ai/minimax/speech-",
        FalSpeechParams {
            setting: Some("voice_setting"),
            voice: "voice_id",
            format: Some("mp3"),
            always: &[("output_format", "url")],
            ..PLAIN
        },
    ),
    ("fal-ai/playai/tts/", FalSpeechParams { text: "input", has_speed: false, format: Some("mp3"), ..PLAIN }),
    ("fal-ai/elevenlabs/tts/", FalSpeechParams { format: Some("mp3"), ..PLAIN }),
    ("", PLAIN),
];

/// Transcription apps, each with the features that it supports. The parameters of others are unknown.
const LISTENERS: &[(&str, FalTranscriptionParams)] = &[
    ("fal-ai/whisper", FalTranscriptionParams { has_words: true, has_prompt: true }),
    ("fal-ai/wizper", FalTranscriptionParams { has_words: false, has_prompt: false }),
];
const LISTENER_FIX: &str = "Ask fal-ai/whisper or fal-ai/wizper.";

pub(super) fn read_aloud(target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
    let path = path_of(target.upstream_model)?;
    let words = APPS.iter().find(|(start, _)| target.upstream_model.starts_with(start));
    let (_, words) = words.ok_or_else(|| compatible::unsupported_operation(ask.operation))?;
    let translated = write_fal_speech(ask.grammar, ask.body, words, ask.is_lenient)?;
    let encoded =
        EncodedBody { grammar: Grammar::Hosted, body: vec![translated.body], dropped: translated.dropped };
    let address = target.hosting.queue_url.as_deref().unwrap_or(target.base_url);
    Ok(encoded.to(compatible::join(address, &path), ask))
}

pub(super) fn listen(target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
    let path = path_of(target.upstream_model)?;
    let words = LISTENERS.iter().find(|(app, _)| *app == target.upstream_model);
    let (_, words) =
        words.ok_or_else(|| Box::new(compatible::unsupported_operation(ask.operation).fix(LISTENER_FIX)))?;
    let (client, form) = ((ask.grammar, ask.operation), ask.request.form.as_deref());
    let translated = write_fal_transcription(client, form, ask.body, *words, ask.is_lenient)?;
    let encoded =
        EncodedBody { grammar: Grammar::Hosted, body: vec![translated.body], dropped: translated.dropped };
    let address = target.hosting.queue_url.as_deref().unwrap_or(target.base_url);
    Ok(encoded.into_document(compatible::join(address, &path), ask))
}

#[derive(Deserialize)]
struct Answer {
    audio: files::File,
}

/// The step from the answer to its file.
pub(super) fn lead(leading: &IntermediateAnswer<'_>) -> Result<FollowUp, &'static str> {
    let answer: Answer = serde_json::from_slice(leading.body).map_err(|_| "it names no file of sound")?;
    files::fetch(leading.base_url, &answer.audio)
}

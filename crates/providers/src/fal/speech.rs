//! Speech synthesis by fal's apps: each names its parameters differently, and answers with a file.

use bytes::Bytes;
use conversation::target::TranslatedRequest;
use domain::Fault;
use json::written::{json_object, json_string};
use operations::speech::SpeechRequest;
use serde::Deserialize;

use super::address::app_path;
use super::files;
use crate::compatible::{self, EncodedBody};
use crate::{FollowUp, IntermediateAnswer, ModelRequest, Outgoing, Target};

const FORMAT_FIX: &str = "Leave \"response_format\" out: the app's files are all of one kind.";
const EVENTS_FIX: &str = "Send \"audio\", or leave it out: the app gives a file.";
const SPEED_FIX: &str = "Leave \"speed\" out.";

/// The parameters of a speech app.
#[derive(Debug, Clone, Copy)]
struct SpeechParams {
    /// The name of the text's field.
    text: &'static str,
    /// The member that holds voice and speed; `None` if they are at the top level.
    setting: Option<&'static str>,
    voice: &'static str,
    has_speed: bool,
    /// The format of its files, in OpenAI's word for it; `None` if unknown.
    format: Option<&'static str>,
    /// Parameters that are always sent, so that the response is a file.
    always: &'static [(&'static str, &'static str)],
    /// Further parameters, which pass through unchanged.
    passthrough: &'static [&'static str],
}

const PLAIN: SpeechParams = SpeechParams {
    text: "text",
    setting: None,
    voice: "voice",
    has_speed: true,
    format: None,
    always: &[],
    passthrough: &["seed", "language_boost", "stability", "similarity_boost", "style", "temperature"],
};
/// Apps by name prefix, each with the peculiarities of its parameters; the last entry applies to all others.
const APPS: &[(&str, SpeechParams)] = &[
    ("fal-ai/kokoro/", SpeechParams { text: "prompt", format: Some("wav"), passthrough: &[], ..PLAIN }),
    (
        "fal-ai/minimax/speech-",
        SpeechParams {
            setting: Some("voice_setting"),
            voice: "voice_id",
            format: Some("mp3"),
            always: &[("output_format", "url")],
            ..PLAIN
        },
    ),
    ("fal-ai/playai/tts/", SpeechParams { text: "input", has_speed: false, format: Some("mp3"), ..PLAIN }),
    ("fal-ai/elevenlabs/tts/", SpeechParams { format: Some("mp3"), ..PLAIN }),
    ("", PLAIN),
];

/// A request to the app, or to its queue.
pub(super) fn generate(target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
    let path = app_path(target.upstream_model)?;
    let params = APPS.iter().find(|(start, _)| target.upstream_model.starts_with(start));
    let (_, params) = params.ok_or_else(|| compatible::unsupported_operation(ask.operation))?;
    let request = SpeechRequest::read(ask.grammar, ask.body, ask.is_lenient)?;
    let translated = write(request, params)?;
    let address = target.hosting.queue_url.as_deref().unwrap_or(target.base_url);
    Ok(EncodedBody::own(translated).to(compatible::join(address, &path), ask))
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

/// Translates a speech request for a fal app.
///
/// # Errors
/// The request needs something that the app lacks and that may not be dropped.
fn write(request: SpeechRequest<'_>, params: &SpeechParams) -> Result<TranslatedRequest, Box<Fault>> {
    let SpeechRequest { text, voice, speed, format, wants_events, mut extra } = request;
    let mut fields = vec![(params.text, json_string(&text))];
    let mut manner = vec![(params.voice, json_string(&voice))];
    match speed {
        Some(speed) if params.has_speed => manner.push(("speed", speed)),
        Some(_) => extra.unsupported("speed", "asks for a speed, and this app has one alone", SPEED_FIX)?,
        None => {}
    }
    match params.setting {
        Some(setting) => fields.push((setting, json_object(&manner))),
        None => fields.extend(manner),
    }
    if format.is_some_and(|format| Some(&*format) != params.format) {
        extra.unsupported("response_format", "asks for files that this app doesn't produce", FORMAT_FIX)?;
    }
    if wants_events {
        extra.unsupported("stream_format", "asks for events, and this app sends none", EVENTS_FIX)?;
    }
    fields.extend(params.always.iter().map(|(name, value)| (*name, json_string(value))));
    extra.pass_through(params.passthrough, &mut fields)?;
    Ok(TranslatedRequest { body: Bytes::from(json_object(&fields)), dropped: extra.finish()? })
}

#[cfg(test)]
mod tests {
    use domain::Grammar;
    use serde_json::{Value as Json, json};

    use super::*;

    const PLAIN: SpeechParams = SpeechParams {
        text: "prompt",
        setting: None,
        voice: "voice",
        has_speed: true,
        format: Some("wav"),
        always: &[],
        passthrough: &["seed"],
    };
    const DEEP: SpeechParams = SpeechParams {
        text: "text",
        setting: Some("voice_setting"),
        voice: "voice_id",
        has_speed: false,
        format: None,
        always: &[("output_format", "url")],
        passthrough: &[],
    };

    fn translate(
        words: &SpeechParams,
        body: &str,
        is_lenient: bool,
    ) -> Result<(Json, Vec<String>), Box<Fault>> {
        let request = SpeechRequest::read(Grammar::Chat, body.as_bytes(), is_lenient)?;
        let translated = write(request, words)?;
        Ok((serde_json::from_slice(&translated.body).unwrap(), translated.dropped))
    }

    #[test]
    fn a_text_is_said_in_the_words_of_its_app() {
        let body = r#"{"model":"m","input":"a \"tide\"","voice":"v","speed":1.5,"response_format":"wav","stream_format":"audio","seed":7}"#;
        let expected = json!({"prompt": "a \"tide\"", "voice": "v", "speed": 1.5, "seed": 7});
        assert_eq!(translate(&PLAIN, body, false).unwrap(), (expected, vec![]));
        let expected = json!({"text": "a", "voice_setting": {"voice_id": "v"}, "output_format": "url"});
        assert_eq!(translate(&DEEP, r#"{"input":"a","voice":"v"}"#, false).unwrap(), (expected, vec![]));
    }

    #[test]
    fn what_there_are_no_words_for_is_refused_or_dropped_by_name() {
        for (more, name, code) in [
            (r#""speed":2"#, "speed", "unsupported_value"),
            (r#""response_format":"opus""#, "response_format", "unsupported_value"),
            (r#""stream_format":"sse""#, "stream_format", "unsupported_value"),
            (r#""instructions":"whisper""#, "instructions", "unsupported_parameter"),
        ] {
            let body = format!(r#"{{"input":"a","voice":"v",{more}}}"#);
            let fault = translate(&DEEP, &body, false).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (code, Some(name)), "{more}");
            assert_eq!(translate(&DEEP, &body, true).unwrap().1, [name], "{more}");
        }
        for (body, name) in [(r#"{"voice":"v"}"#, "input"), (r#"{"input":"a"}"#, "voice")] {
            assert_eq!(translate(&PLAIN, body, true).unwrap_err().param.as_deref(), Some(name));
        }
    }
}

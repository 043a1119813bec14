//! Speech synthesis by fal's apps: translates the request into an app's parameters. The response is a file.

use bytes::Bytes;
use conversation::target::TranslatedRequest;
use domain::{Fault, Grammar};
use json::members::Members;

use super::fal_images::{json_string, lose_rest, raw_json};
use super::words::{UnsupportedParams, object};

const TEXT_FIX: &str = "Send the text that is to be read.";
const VOICE_FIX: &str = "Send the name of one of the app's voices.";
const FORMAT_FIX: &str = "Leave \"response_format\" out: the app's files are all of one kind.";
const EVENTS_FIX: &str = "Send \"audio\", or leave it out: the app gives a file.";
const SPEED_FIX: &str = "Leave \"speed\" out.";

/// The parameters of a speech app.
#[derive(Debug, Clone, Copy)]
pub struct FalSpeechParams {
    /// The name of the text's field.
    pub text: &'static str,
    /// The member that holds voice and speed; `None` if they are at the top level.
    pub setting: Option<&'static str>,
    pub voice: &'static str,
    pub has_speed: bool,
    /// The format of its files, in OpenAI's word for it; `None` if unknown.
    pub format: Option<&'static str>,
    /// Parameters that are always sent, so that the response is a file.
    pub always: &'static [(&'static str, &'static str)],
    /// Further parameters, which pass through unchanged.
    pub passthrough: &'static [&'static str],
}

/// Translates a speech request for a fal app.
///
/// # Errors
/// The request is invalid, or needs something that the app lacks and that may not be dropped.
pub fn write_fal_speech(
    client: Grammar,
    body: &[u8],
    words: &FalSpeechParams,
    is_lenient: bool,
) -> Result<TranslatedRequest, Box<Fault>> {
    let mut members = Members::read(body, String::new())?;
    let mut unsupported = UnsupportedParams::new(client, is_lenient);
    members.take("model")?;
    let mut fields = vec![(words.text, json_string(&members.needed_text("input", TEXT_FIX)?))];
    let mut manner = vec![(words.voice, json_string(&members.needed_text("voice", VOICE_FIX)?))];
    if let Some(speed) = members.number("speed")? {
        if words.has_speed {
            manner.push(("speed", speed.0));
        } else {
            unsupported.value("speed", "asks for a speed, and this app has one alone", SPEED_FIX)?;
        }
    }
    match words.setting {
        Some(setting) => fields.push((setting, object(&manner))),
        None => fields.extend(manner),
    }
    let format = members.text("response_format")?;
    if format.is_some_and(|format| Some(&*format) != words.format) {
        unsupported.value("response_format", "asks for files that this app does not make", FORMAT_FIX)?;
    }
    if members.text("stream_format")?.is_some_and(|format| format != "audio") {
        unsupported.value("stream_format", "asks for events, and this app tells of none", EVENTS_FIX)?;
    }
    fields.extend(words.always.iter().map(|(name, value)| (*name, json_string(value))));
    for name in words.passthrough {
        fields.extend(members.take(name)?.map(|value| (*name, raw_json(&value, body))));
    }
    lose_rest(members, &mut unsupported.losses)?;
    Ok(TranslatedRequest {
        body: Bytes::from(object(&fields)),
        dropped: unsupported.losses.finish(is_lenient)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    const PLAIN: FalSpeechParams = FalSpeechParams {
        text: "prompt",
        setting: None,
        voice: "voice",
        has_speed: true,
        format: Some("wav"),
        always: &[],
        passthrough: &["seed"],
    };
    const DEEP: FalSpeechParams = FalSpeechParams {
        text: "text",
        setting: Some("voice_setting"),
        voice: "voice_id",
        has_speed: false,
        format: None,
        always: &[("output_format", "url")],
        passthrough: &[],
    };

    fn translate(
        words: &FalSpeechParams,
        body: &str,
        is_lenient: bool,
    ) -> Result<(Json, Vec<String>), Box<Fault>> {
        let translated = write_fal_speech(Grammar::Chat, body.as_bytes(), words, is_lenient)?;
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

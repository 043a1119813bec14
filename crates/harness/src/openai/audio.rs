//! `POST /v1/audio/transcriptions` and `/translations`: forms, parsed strictly part by part; the transcript
//! is a checksum over the file's bytes, so that a test can verify that all of them arrived.

use bytes::Bytes;
use serde_json::{Value, json};

use super::error::ApiError;
use super::forms;
use super::routes::OpenAiCall;
use super::stream::error_event;
use crate::emulator::answering::{buffered, plain, special_as, streamed};
use crate::emulator::frames::{self, Event};
use crate::emulator::service::Answer;
use crate::emulator::{Behaviour, Part, PartRole, UsageMode};
use crate::members::put;

/// OpenAI's maximum file size.
const FILE_BYTES_MAX: usize = 25 * 1024 * 1024;
/// Bytes of one second of audio in the emulator.
pub const SOUND_BYTES_PER_S: usize = 16_000;
const FORMATS: &[&str] = &["flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm"];
const WHISPER: &str = "whisper-1";
const LISTENERS: &[&str] = &[WHISPER, "gpt-4o-transcribe", "gpt-4o-mini-transcribe"];
const OF_TRANSLATIONS: &[&str] = &["file", "model", "prompt", "response_format", "temperature"];
#[rustfmt::skip]
const OF_TRANSCRIPTIONS: &[&str] = &[
    "file", "model", "prompt", "response_format", "temperature", "language", "languages[]", "keywords[]",
    "stream", "include[]", "chunking_strategy", "timestamp_granularities[]", "known_speaker_names[]",
    "known_speaker_references[]",
];

/// The task for a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Transcribe,
    Translate,
}

/// A request that passed every check.
struct Listening {
    model: String,
    format: String,
    stream: bool,
    script: Option<String>,
    sound: Bytes,
}

pub(crate) async fn answer(call: &OpenAiCall<'_>, task: Task) -> Result<Answer, ApiError> {
    let listening = read(call, task)?;
    let behaviour = call.begin(&listening.model, listening.stream, listening.script.as_deref()).await?;
    if let Some(answer) = special_as(call.flavour, call.guard, &behaviour)? {
        return Ok(answer);
    }
    listening.answer(&behaviour)
}

fn read(call: &OpenAiCall<'_>, task: Task) -> Result<Listening, ApiError> {
    let known = if task == Task::Transcribe { OF_TRANSCRIPTIONS } else { OF_TRANSLATIONS };
    let fields = forms::read(call, known)?;
    let text = |name: &str| {
        let field = fields.iter().find(|field| field.name == name)?;
        Some(String::from_utf8_lossy(&field.value).into_owned())
    };
    let model = text("model").ok_or_else(|| ApiError::missing("model"))?;
    let hears = LISTENERS.contains(&model.as_str()) && (task == Task::Transcribe || model == WHISPER);
    if !hears {
        return Err(ApiError::model_not_found(&model));
    }
    let file = fields.iter().find(|field| field.name == "file");
    let (file, filename) = file
        .and_then(|file| Some((file, file.filename.as_deref()?)))
        .ok_or_else(|| ApiError::missing("file"))?;
    check_file(filename, &file.value)?;
    let format = text("response_format").unwrap_or_else(|| "json".to_owned());
    let formats: &[&str] =
        if model == WHISPER { &["json", "text", "srt", "verbose_json", "vtt"] } else { &["json", "text"] };
    if !formats.contains(&format.as_str()) {
        return Err(ApiError::wrong_value("response_format", &format, formats));
    }
    let stream = match text("stream").as_deref() {
        None | Some("false") => false,
        Some("true") => model != WHISPER,
        Some(other) => return Err(ApiError::wrong_value("stream", other, &["true", "false"])),
    };
    let script = text("prompt").and_then(|prompt| prompt.strip_prefix("emu:").map(str::to_owned));
    Ok(Listening { model, format, stream, script, sound: file.value.clone() })
}

fn check_file(filename: &str, sound: &[u8]) -> Result<(), ApiError> {
    if sound.len() > FILE_BYTES_MAX {
        let message =
            format!("Maximum content size limit ({FILE_BYTES_MAX}) exceeded ({} bytes read)", sound.len());
        return Err(ApiError::new(413, "server_error", message));
    }
    let extension = filename.rsplit_once('.').map_or("", |(_, extension)| extension);
    if !FORMATS.contains(&extension) {
        return Err(ApiError::bad(format!("Unrecognized file format. Supported formats: {FORMATS:?}")));
    }
    if sound.is_empty() {
        return Err(ApiError::bad("Audio file is too short. Minimum audio length is 0.1 seconds."));
    }
    Ok(())
}

impl Listening {
    /// The transcript: a length and checksum, so that a lost, doubled or changed byte is noticed.
    fn text(&self) -> String {
        format!("I heard {} bytes of {:08x}.", self.sound.len(), crc32fast::hash(&self.sound))
    }

    fn seconds(&self) -> usize {
        self.sound.len().div_ceil(SOUND_BYTES_PER_S)
    }

    fn usage(&self, text: &str) -> Value {
        if self.model == WHISPER {
            return json!({"type": "duration", "seconds": self.seconds()});
        }
        let (audio, output) = (self.seconds() * 10, text.split(' ').count());
        json!({
            "type": "tokens", "input_tokens": audio + 2, "output_tokens": output, "total_tokens": audio + 2 + output,
            "input_token_details": {"text_tokens": 2, "audio_tokens": audio},
        })
    }

    fn answer(&self, behaviour: &Behaviour) -> Result<Answer, ApiError> {
        let text = self.text();
        if self.stream {
            return streamed(self.events(&text, behaviour), behaviour);
        }
        let mut body = json!({"text": text});
        if behaviour.usage != UsageMode::Missing {
            put(&mut body, "usage", self.usage(&text));
        }
        let seconds = self.seconds();
        match self.format.as_str() {
            "text" => Ok(plain(200, "text/plain; charset=utf-8", format!("{text}\n"), behaviour)),
            "srt" => Ok(plain(
                200,
                "text/plain; charset=utf-8",
                format!("1\n{}\n{text}\n\n", cue(seconds, ',')),
                behaviour,
            )),
            "vtt" => Ok(plain(
                200,
                "text/vtt; charset=utf-8",
                format!("WEBVTT\n\n{}\n{text}\n\n", cue(seconds, '.')),
                behaviour,
            )),
            "verbose_json" => {
                put(&mut body, "task", Value::from("transcribe"));
                put(&mut body, "language", Value::from("english"));
                put(&mut body, "duration", Value::from(seconds as f64));
                put(&mut body, "segments", json!([]));
                buffered(&body, 0, behaviour)
            }
            _ => buffered(&body, 0, behaviour),
        }
    }

    fn events(&self, text: &str, behaviour: &Behaviour) -> Vec<Part> {
        let event = |name, data: &Value, tokens, role| Event {
            name: Some(name),
            data: data.to_string(),
            tokens,
            role,
        };
        let delta = |word: &str| {
            let delta = json!({"type": "transcript.text.delta", "delta": word});
            event("transcript.text.delta", &delta, 1, PartRole::Content)
        };
        let mut events: Vec<Event> = text.split_inclusive(' ').map(delta).collect();
        let mut done = json!({"type": "transcript.text.done", "text": text});
        if behaviour.usage != UsageMode::Missing {
            put(&mut done, "usage", self.usage(text));
        }
        events.push(event("transcript.text.done", &done, 0, PartRole::Done));
        frames::parts(events, behaviour, || error_event(behaviour))
    }
}

fn cue(seconds: usize, mark: char) -> String {
    let (minutes, rest) = (seconds / 60, seconds % 60);
    format!("00:00:00{mark}000 --> {:02}:{:02}:{rest:02}{mark}000", minutes / 60, minutes % 60)
}

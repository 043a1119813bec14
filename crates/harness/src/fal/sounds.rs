//! fal's speech synthesis and transcription apps: each takes its text or its recording in a field of its own
//! name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::error::Refusal;
use super::files;
use crate::openai::checks::{Shape, Shape::*};

const VOICES: &[&str] = &["af_heart", "af_alloy", "am_adam", "am_echo"];

pub(super) const KOKORO: &[(&str, Shape)] =
    &[("prompt", Text), ("voice", OneOf(VOICES)), ("speed", Decimal(0.1, 5.0))];
pub(super) const MINIMAX: &[(&str, Shape)] = &[
    ("text", Text),
    ("audio_setting", Object),
    ("language_boost", Text),
    ("output_format", OneOf(&["url", "hex"])),
    ("voice_setting", Object),
];
const VOICE_SETTING: &[&str] = &["voice_id", "speed", "vol", "pitch", "emotion"];

#[rustfmt::skip]
pub(super) const WHISPER: &[(&str, Shape)] = &[
    ("audio_url", Text), ("batch_size", Integer(1, 64)), ("chunk_level", OneOf(&["none", "segment", "word"])),
    ("diarize", Flag), ("language", Text), ("num_speakers", Integer(1, 64)), ("prompt", Text),
    ("task", OneOf(&["transcribe", "translate"])), ("version", OneOf(&["3"])),
];
#[rustfmt::skip]
pub(super) const WIZPER: &[(&str, Shape)] = &[
    ("audio_url", Text), ("chunk_level", OneOf(&["segment"])), ("language", Text),
    ("max_segment_len", Integer(10, 29)), ("merge_chunks", Flag),
    ("task", OneOf(&["transcribe", "translate"])), ("version", OneOf(&["3"])),
];
/// Bytes of one second of a recording.
const BYTES_OF_SECOND: usize = 1_000;

/// A speech synthesis request.
#[derive(Debug, Clone)]
pub(super) struct Speech {
    kind: &'static str,
    /// Whether the audio is returned inline as hex, as this app does unless a URL is requested.
    is_hex: bool,
}

impl Speech {
    pub(super) fn of(fields: &Map<String, Value>, kind: &'static str) -> Result<Self, Refusal> {
        let setting = fields.get("voice_setting").and_then(Value::as_object);
        let strange =
            setting.and_then(|setting| setting.keys().find(|name| !VOICE_SETTING.contains(&name.as_str())));
        if let Some(name) = strange {
            let loc = ["body", "voice_setting", name.as_str()];
            return Err(Refusal::wrong(&loc, "extra_forbidden", "Extra inputs are not permitted"));
        }
        let is_hex = fields.contains_key("text") && fields.get("output_format") != Some(&json!("url"));
        Ok(Self { kind, is_hex })
    }

    pub(super) fn answer(&self, prompt: &str, base: &str) -> Value {
        if self.is_hex {
            let hex: String = prompt.bytes().map(|byte| format!("{byte:02x}")).collect();
            return json!({"audio": {"content": hex}, "duration_ms": 1_000});
        }
        let media = if self.kind == "wav" { "audio/wav" } else { "audio/mpeg" };
        let url = files::url(base, prompt, &format!("1.{}", self.kind));
        json!({"audio": {"url": url, "content_type": media, "file_name": format!("output.{}", self.kind)}})
    }
}

/// A recording, whose transcript is derived from its bytes.
#[derive(Debug, Clone)]
pub(super) struct Transcription {
    text: String,
    bytes: usize,
    chunks: Chunks,
    language: Option<String>,
    is_translation: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunks {
    None,
    Segments,
    Words,
}

impl Transcription {
    pub(super) fn of(fields: &Map<String, Value>) -> Result<Self, Refusal> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let url = text("audio_url").unwrap_or_default();
        let recording = url.strip_prefix("data:").and_then(|data| {
            let (media, base64) = data.split_once(";base64,")?;
            let is_sound = media.starts_with("audio/") || media.starts_with("video/");
            STANDARD.decode(base64).ok().filter(|_| is_sound)
        });
        let Some(recording) = recording else {
            return Err(Refusal::wrong(
                &["body", "audio_url"],
                "file_download_error",
                "Failed to download the file",
            ));
        };
        Ok(Self {
            bytes: recording.len(),
            text: String::from_utf8_lossy(&recording).trim_matches(char::from(0)).to_owned(),
            chunks: match text("chunk_level") {
                Some("none") => Chunks::None,
                Some("word") => Chunks::Words,
                _ => Chunks::Segments,
            },
            language: text("language").map(str::to_owned),
            is_translation: text("task") == Some("translate"),
        })
    }

    pub(super) fn compute_seconds(&self) -> f64 {
        f64::from(u32::try_from(self.bytes).unwrap_or(u32::MAX)) / 1e3
    }

    pub(super) fn answer(&self) -> Value {
        let text = if self.is_translation { format!("in English: {}", self.text) } else { self.text.clone() };
        let chunks: Vec<Value> = match self.chunks {
            Chunks::None => Vec::new(),
            Chunks::Segments => {
                vec![json!({"timestamp": [0.0, self.bytes.div_ceil(BYTES_OF_SECOND)], "text": text})]
            }
            Chunks::Words => {
                let words = text.split_whitespace().enumerate();
                words.map(|(at, word)| json!({"timestamp": [at, at + 1], "text": word})).collect()
            }
        };
        let language = self.language.as_deref().unwrap_or("en");
        json!({"text": text, "chunks": chunks, "inferred_languages": [language], "diarization_segments": []})
    }
}

//! The events of OpenAI's Realtime API: what the gateway reads of those that pass through, and the error
//! event that it writes.

use bytes::Bytes;
use domain::{Fault, TraceId, Units, Usage, UsageSource};
use json::{Cursor, JsonError, Kind, Value};
use serde_json::{Value as Json, json};

/// What the gateway needs to know of an event, to meter the session. The rest passes unread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RealtimeEvent {
    pub kind: String,
    /// The sender's own id of the event.
    pub id: Option<String>,
    /// The id of the response that the event is about.
    pub response: Option<String>,
    /// The status with which the response ended.
    pub status: Option<String>,
    /// The message of an error, or of a response's failure.
    pub message: Option<String>,
    pub code: Option<String>,
    /// The id of the client's event that an error is about.
    pub about: Option<String>,
    pub usage: Option<Usage>,
    /// The size of a delta in bytes.
    pub delta_bytes: u64,
    /// A second model is to transcribe the client's audio.
    pub transcribes: bool,
}

/// What an event does, as far as the gateway needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RealtimeAct {
    /// The client requests a response.
    Create,
    /// The client configures the session.
    Configure,
    /// The client sends audio, which is not counted as text.
    Sound,
    /// A response has started.
    Created,
    /// A response has ended.
    Done,
    /// A delta of a response's text, of the transcript of its audio, or of a call's arguments.
    TextDelta,
    /// A delta of a response's audio.
    SoundDelta,
    Error,
    Other,
}

impl RealtimeEvent {
    /// Reads an event, as far as possible: of a truncated event, the part before the cut.
    pub fn read(text: &[u8]) -> Self {
        let mut event = Self::default();
        let whole = match std::str::from_utf8(text) {
            Ok(text) => text.as_bytes(),
            Err(error) => text.get(..error.valid_up_to()).unwrap_or_default(),
        };
        // Anything after a syntax error is unreliable, so it is ignored.
        let _ = event.read_members(whole);
        event
    }

    /// Whether the event is valid JSON with exactly one `type`, a string, so that every parser takes it for
    /// the same event.
    pub fn is_whole(text: &[u8]) -> bool {
        let mut kinds = 0;
        let mut is_word = true;
        let read = Cursor::new(text).and_then(|mut cursor| {
            cursor.kind()?;
            cursor.object(|cursor, member| {
                if member.key.is("type") {
                    kinds += 1;
                    is_word &= cursor.kind()? == Kind::String;
                }
                cursor.ignore()
            })?;
            cursor.end()
        });
        read.is_ok() && kinds == 1 && is_word
    }

    /// The event's kind, by the API's current and earlier names.
    pub fn act(&self) -> RealtimeAct {
        match self.kind.as_str() {
            "response.create" => RealtimeAct::Create,
            "session.update" | "transcription_session.update" => RealtimeAct::Configure,
            "input_audio_buffer.append" => RealtimeAct::Sound,
            "response.created" => RealtimeAct::Created,
            "response.done" => RealtimeAct::Done,
            "response.output_text.delta"
            | "response.text.delta"
            | "response.output_audio_transcript.delta"
            | "response.audio_transcript.delta"
            | "response.function_call_arguments.delta" => RealtimeAct::TextDelta,
            "response.output_audio.delta" | "response.audio.delta" => RealtimeAct::SoundDelta,
            "error" => RealtimeAct::Error,
            _ => RealtimeAct::Other,
        }
    }

    fn read_members(&mut self, text: &[u8]) -> Result<(), JsonError> {
        let mut cursor = Cursor::new(text)?;
        if cursor.kind()? != Kind::Object {
            return Ok(());
        }
        cursor.object(|cursor, member| match &*member.key.decode() {
            "type" => word(cursor).map(|word| self.kind = word.unwrap_or_default()),
            "event_id" => word(cursor).map(|word| self.id = word),
            "response_id" => word(cursor).map(|word| self.response = word),
            "delta" => match cursor.value()? {
                Value::String(delta) => {
                    self.delta_bytes = delta.decoded_len() as u64;
                    Ok(())
                }
                _ => Ok(()),
            },
            "response" if cursor.kind()? == Kind::Object => self.read_response(cursor),
            "error" if cursor.kind()? == Kind::Object => self.read_error(cursor),
            "session" if cursor.kind()? == Kind::Object => self.read_session(cursor),
            _ => cursor.ignore(),
        })?;
        Ok(())
    }

    /// Reads the transcription settings from each place where the API has or had them: in `audio.input`, or
    /// at the top level.
    fn read_session(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        cursor.object(|cursor, member| match &*member.key.decode() {
            "transcription" | "input_audio_transcription" => {
                self.transcribes |= cursor.kind()? != Kind::Null;
                cursor.ignore()
            }
            "audio" | "input" if cursor.kind()? == Kind::Object => self.read_session(cursor),
            _ => cursor.ignore(),
        })?;
        Ok(())
    }

    fn read_response(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        cursor.object(|cursor, member| match &*member.key.decode() {
            "id" => word(cursor).map(|word| self.response = word),
            "status" => word(cursor).map(|word| self.status = word),
            "usage" if cursor.kind()? == Kind::Object => {
                read_usage(cursor).map(|usage| self.usage = Some(usage))
            }
            "status_details" if cursor.kind()? == Kind::Object => cursor
                .object(|cursor, member| match &*member.key.decode() {
                    "error" if cursor.kind()? == Kind::Object => self.read_error(cursor),
                    _ => cursor.ignore(),
                })
                .map(|_| ()),
            _ => cursor.ignore(),
        })?;
        Ok(())
    }

    fn read_error(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        cursor.object(|cursor, member| match &*member.key.decode() {
            "message" => word(cursor).map(|word| self.message = word),
            "code" => word(cursor).map(|word| self.code = word),
            "event_id" => word(cursor).map(|word| self.about = word),
            _ => cursor.ignore(),
        })?;
        Ok(())
    }
}

/// Token counts of one direction, by modality.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    audio: u64,
    image: u64,
    cached: u64,
    cached_audio: u64,
    cached_image: u64,
    thought: u64,
}

fn read_usage(cursor: &mut Cursor<'_>) -> Result<Usage, JsonError> {
    let (mut input, mut output) = (0, 0);
    let (mut input_parts, mut output_parts) = (Parts::default(), Parts::default());
    cursor.object(|cursor, member| match &*member.key.decode() {
        "input_tokens" => count(cursor, &mut input),
        "output_tokens" => count(cursor, &mut output),
        // Both spellings occur.
        "input_token_details" | "input_tokens_details" if cursor.kind()? == Kind::Object => {
            read_parts(cursor, &mut input_parts)
        }
        "output_token_details" | "output_tokens_details" if cursor.kind()? == Kind::Object => {
            read_parts(cursor, &mut output_parts)
        }
        _ => cursor.ignore(),
    })?;
    // Cached tokens are included in the counts of their modality, and are counted once only.
    let audio_in = input_parts.audio.saturating_sub(input_parts.cached_audio);
    let image_in = input_parts.image.saturating_sub(input_parts.cached_image);
    let units = Units {
        audio_in,
        image_in,
        audio_out: output_parts.audio,
        image_out: output_parts.image,
        ..Units::default()
    };
    Ok(Usage {
        input: input.saturating_sub(input_parts.cached).saturating_sub(audio_in).saturating_sub(image_in),
        cached_read: input_parts.cached,
        output: output
            .saturating_sub(output_parts.audio)
            .saturating_sub(output_parts.image)
            .saturating_sub(output_parts.thought),
        reasoning: output_parts.thought,
        units,
        source: UsageSource::Provider,
        ..Usage::default()
    })
}

fn read_parts(cursor: &mut Cursor<'_>, parts: &mut Parts) -> Result<(), JsonError> {
    cursor.object(|cursor, member| match &*member.key.decode() {
        "audio_tokens" => count(cursor, &mut parts.audio),
        "image_tokens" => count(cursor, &mut parts.image),
        "cached_tokens" => count(cursor, &mut parts.cached),
        "reasoning_tokens" => count(cursor, &mut parts.thought),
        "cached_tokens_details" if cursor.kind()? == Kind::Object => cursor
            .object(|cursor, member| match &*member.key.decode() {
                "audio_tokens" => count(cursor, &mut parts.cached_audio),
                "image_tokens" => count(cursor, &mut parts.cached_image),
                _ => cursor.ignore(),
            })
            .map(|_| ()),
        _ => cursor.ignore(),
    })?;
    Ok(())
}

fn count(cursor: &mut Cursor<'_>, counter: &mut u64) -> Result<(), JsonError> {
    if let Some(count) = cursor.count()? {
        *counter = count;
    }
    Ok(())
}

fn word(cursor: &mut Cursor<'_>) -> Result<Option<String>, JsonError> {
    Ok(match cursor.value()? {
        Value::String(text) => Some(text.decode().into_owned()),
        _ => None,
    })
}

/// The error event for a client, with the id of the client's event that it is about, if any.
pub fn realtime_error(fault: &Fault, trace: TraceId, about: Option<&str>) -> Bytes {
    let mut error = serde_json::from_slice::<Json>(&conversation::openai_error::error_body(fault, trace))
        .unwrap_or_default();
    let mut detail = error.get_mut("error").map(Json::take).unwrap_or_default();
    if let Some(detail) = detail.as_object_mut() {
        detail.insert("event_id".to_owned(), json!(about));
    }
    let event = json!({"type": "error", "event_id": format!("event_{trace}"), "error": detail});
    Bytes::from(event.to_string())
}

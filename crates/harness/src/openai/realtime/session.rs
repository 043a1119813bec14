//! A realtime session: its conversation, and its responses, sent piece by piece.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use framing::websocket::{self, Kind, Scanner, Seen, Sender, close_frame, text_frame};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::events::{self, Wrong};
use crate::Entry;
use crate::emulator::state::lock;
use crate::members::put;
use crate::openai::tokens;

const MESSAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A token of the client's audio is a tenth of a second, of the model's a twentieth: 16-bit samples at 24
/// kHz.
const HEARD_BYTES_PER_TOKEN: usize = 4_800;
const SPOKEN_BYTES_PER_TOKEN: usize = 2_400;
const WORDS: [&str; 6] = ["The ", "tide ", "comes ", "in ", "twice ", "daily."];
const LONG: usize = 60;

/// What to send next, and its effect.
enum Outgoing {
    Event(Value),
    /// The response is done, with this usage.
    Done(Value),
    /// Nothing more is sent until the client sends an event.
    Hang,
    Leave,
}

pub(super) struct Session {
    record: Arc<Mutex<Entry>>,
    session: Value,
    number: u64,
    items: Vec<Value>,
    heard: Vec<u8>,
    /// Tokens of the conversation so far: text and audio.
    context: (u64, u64),
    /// Text tokens of the context of the last response, which are now cached.
    last_text_tokens: u64,
    active: Option<String>,
    out: VecDeque<Outgoing>,
}

impl Session {
    pub(super) fn new(record: Arc<Mutex<Entry>>, model: &str) -> Self {
        let session = json!({
            "type": "realtime", "object": "realtime.session", "id": "sess_emulator", "model": model,
            "output_modalities": ["audio"], "instructions": "", "tools": [], "tool_choice": "auto",
            "max_output_tokens": "inf", "truncation": "auto", "tracing": null, "prompt": null, "include": null,
            "expires_at": 1_900_000_000,
            "audio": {
                "input": {"format": {"type": "audio/pcm", "rate": 24_000}, "transcription": null, "noise_reduction": null, "turn_detection": null},
                "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "marin", "speed": 1.0},
            },
        });
        Self {
            record,
            session,
            number: 0,
            items: Vec::new(),
            heard: Vec::new(),
            context: (0, 0),
            last_text_tokens: 0,
            active: None,
            out: VecDeque::new(),
        }
    }

    /// Serves the session until either side closes it.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut self, mut stream: S) {
        let created = json!({"type": "session.created", "session": self.session});
        self.out.push_back(Outgoing::Event(created));
        let mut scanner = Scanner::new(Sender::Client, MESSAGE_BYTES_MAX, 16 * 1024 * 1024);
        let mut input = BytesMut::new();
        let closed = loop {
            match self.next(&mut stream, &mut scanner, &mut input).await {
                Ok(true) => {}
                Ok(false) => break Vec::new(),
                Err(close) => break close,
            }
        };
        let _ = stream.write_all(&closed).await;
        let _ = stream.shutdown().await;
        lock(&self.record).ended = Some(Instant::now());
    }

    /// One step: sends an event or reads some bytes. The error is the close code to end with.
    async fn next<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        scanner: &mut Scanner,
        input: &mut BytesMut,
    ) -> Result<bool, Vec<u8>> {
        while !input.is_empty() {
            let read = scanner.read(input).map_err(|wrong| close_frame(wrong.code, wrong.what, None))?;
            let raw = input.split_to(read.used);
            match read.seen {
                Some(Seen::Message(Kind::Text)) => {
                    let text = scanner.text().to_vec();
                    self.receive(&text);
                }
                Some(Seen::Message(Kind::Binary)) => {
                    return Err(close_frame(1003, "text only", None));
                }
                Some(Seen::Ping) => {
                    let payload = unmask(&raw);
                    let pong = [&[0x8a, u8::try_from(payload.len()).unwrap_or(0)], &*payload].concat();
                    stream.write_all(&pong).await.map_err(|_| Vec::new())?;
                }
                Some(Seen::Close(code)) => {
                    return Err(close_frame(code.unwrap_or(websocket::NORMAL), "", None));
                }
                Some(Seen::Pong) | None => {}
            }
        }
        if let Some(out) = self.out.pop_front() {
            return self.send(stream, out).await;
        }
        match stream.read_buf(input).await {
            Ok(count) if count > 0 => Ok(true),
            _ => Ok(false),
        }
    }

    async fn send<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, out: Outgoing) -> Result<bool, Vec<u8>> {
        let mut event = match out {
            Outgoing::Event(event) => event,
            Outgoing::Done(event) => {
                self.active = None;
                self.note_usage(&event);
                event
            }
            Outgoing::Hang => return Ok(true),
            Outgoing::Leave => return Ok(false),
        };
        self.number += 1;
        put(&mut event, "event_id", format!("event_{:06}", self.number));
        let frame = text_frame(event.to_string().as_bytes(), None);
        lock(&self.record).bytes_written += frame.len() as u64;
        stream.write_all(&frame).await.map_err(|_| Vec::new())?;
        stream.flush().await.map_err(|_| Vec::new())?;
        Ok(true)
    }

    fn note_usage(&self, done: &Value) {
        let count = |name: &str| {
            done.pointer(&format!("/response/usage/{name}")).and_then(Value::as_u64).unwrap_or(0)
        };
        let mut record = lock(&self.record);
        record.prompt_tokens += count("input_tokens");
        record.said_tokens += count("output_tokens");
    }

    fn emit(&mut self, event: Value) {
        self.out.push_back(Outgoing::Event(event));
    }

    fn receive(&mut self, text: &[u8]) {
        {
            let mut record = lock(&self.record);
            record.body = [&*record.body, text, b"\n"].concat().into();
        }
        let about =
            serde_json::from_slice::<Value>(text).ok().and_then(|event| event.get("event_id").cloned());
        let done = events::read(text).and_then(|event| self.take(&event));
        if let Err(wrong) = done {
            self.emit(wrong.event(about.as_ref()));
        }
    }

    fn take(&mut self, event: &Map<String, Value>) -> Result<(), Wrong> {
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "session.update" => self.update(event.get("session")),
            "input_audio_buffer.append" => self.hear(event.get("audio")),
            "input_audio_buffer.commit" => self.commit(),
            "input_audio_buffer.clear" => {
                self.heard.clear();
                self.emit(json!({"type": "input_audio_buffer.cleared"}));
                Ok(())
            }
            "conversation.item.create" => self.add(event.get("item")),
            "response.create" => self.respond(event.get("response")),
            "response.cancel" => self.cancel(),
            "conversation.item.delete" => {
                let id = event.get("item_id").cloned().unwrap_or_default();
                let before = self.items.len();
                self.items.retain(|item| item.get("id") != Some(&id));
                if self.items.len() == before {
                    return Err(Wrong::new("item_delete_invalid_item_id", "There is no such item."));
                }
                self.emit(json!({"type": "conversation.item.deleted", "item_id": id}));
                Ok(())
            }
            "conversation.item.retrieve" => {
                let id = event.get("item_id").cloned().unwrap_or_default();
                let item = self.items.iter().find(|item| item.get("id") == Some(&id)).cloned();
                let item = item
                    .ok_or_else(|| Wrong::new("item_retrieve_invalid_item_id", "There is no such item."))?;
                self.emit(json!({"type": "conversation.item.retrieved", "item": item}));
                Ok(())
            }
            // Playback is up to the client; nothing to do here.
            _ => Ok(()),
        }
    }

    fn update(&mut self, changes: Option<&Value>) -> Result<(), Wrong> {
        let changes = changes.and_then(Value::as_object).ok_or_else(|| missing("session"))?;
        if changes.get("type") != Some(&"realtime".into()) {
            return Err(missing("session.type"));
        }
        if changes.get("model").is_some_and(|model| Some(model) != self.session.get("model")) {
            return Err(Wrong::new("invalid_value", "The model can't be changed.").param("session.model"));
        }
        if let Some(own) = self.session.as_object_mut() {
            own.extend(
                changes
                    .iter()
                    .filter(|(name, _)| *name != "audio")
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
        }
        let session = self.session.clone();
        self.emit(json!({"type": "session.updated", "session": session}));
        Ok(())
    }

    fn hear(&mut self, audio: Option<&Value>) -> Result<(), Wrong> {
        let audio = audio.and_then(Value::as_str).ok_or_else(|| missing("audio"))?;
        let bytes =
            STANDARD.decode(audio).map_err(|_| Wrong::new("invalid_value", "No base64.").param("audio"))?;
        let is_silence = !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0);
        self.heard.extend_from_slice(&bytes);
        if is_silence && self.heard.len() > bytes.len() {
            self.emit(json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 100, "item_id": "item_heard"}));
            self.commit()?;
            return self.respond(None);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Wrong> {
        if self.heard.len() < HEARD_BYTES_PER_TOKEN {
            let message =
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio.";
            return Err(Wrong::new("input_audio_buffer_commit_empty", message));
        }
        self.context.1 += (std::mem::take(&mut self.heard).len() / HEARD_BYTES_PER_TOKEN) as u64;
        let content = json!([{"type": "input_audio", "transcript": null}]);
        let item =
            self.keep(json!({"type": "message", "role": "user", "status": "completed", "content": content}));
        self.emit(
            json!({"type": "input_audio_buffer.committed", "previous_item_id": null, "item_id": item.get("id")}),
        );
        self.emit(json!({"type": "conversation.item.added", "previous_item_id": null, "item": item}));
        Ok(())
    }

    fn keep(&mut self, mut item: Value) -> Value {
        if item.get("id").is_none() {
            put(&mut item, "id", format!("item_{:04}", self.items.len() + 1));
        }
        put(&mut item, "object", "realtime.item");
        self.items.push(item.clone());
        item
    }

    fn add(&mut self, item: Option<&Value>) -> Result<(), Wrong> {
        let item = item.filter(|item| item.is_object()).ok_or_else(|| missing("item"))?;
        let content = item.get("content").and_then(Value::as_array).cloned().unwrap_or_default();
        if item.get("type").is_some_and(|kind| kind == "message") && content.is_empty() {
            return Err(missing("item.content"));
        }
        for part in &content {
            match part.get("type").and_then(Value::as_str) {
                Some("input_text" | "text" | "output_text") => {
                    self.context.0 += tokens::count(text_of(part, "text"));
                }
                Some("input_audio") => {
                    let sound = STANDARD.decode(text_of(part, "audio")).unwrap_or_default();
                    self.context.1 += (sound.len() / HEARD_BYTES_PER_TOKEN) as u64;
                }
                _ => {
                    return Err(Wrong::new("invalid_value", "No such content.").param("item.content[0].type"));
                }
            }
        }
        let item = self.keep(item.clone());
        self.emit(json!({"type": "conversation.item.added", "previous_item_id": null, "item": item}));
        self.emit(json!({"type": "conversation.item.done", "previous_item_id": null, "item": item}));
        Ok(())
    }

    fn cancel(&mut self) -> Result<(), Wrong> {
        let Some(id) = self.active.clone() else {
            return Err(Wrong::new(
                "response_cancel_not_active",
                "Cancellation failed: no active response found",
            ));
        };
        self.out.clear();
        let usage = self.usage(2, 0);
        self.out.push_back(Outgoing::Done(done(
            &id,
            "cancelled",
            &json!({"type": "cancelled", "reason": "client_cancelled"}),
            &usage,
        )));
        Ok(())
    }

    fn respond(&mut self, params: Option<&Value>) -> Result<(), Wrong> {
        if let Some(active) = &self.active {
            let message = format!("Conversation already has an active response in progress: {active}.");
            return Err(Wrong::new("conversation_already_has_active_response", message));
        }
        let modalities = params.and_then(|params| params.get("output_modalities"));
        let modalities = modalities.or_else(|| self.session.get("output_modalities"));
        let is_spoken = modalities.and_then(Value::as_array).is_some_and(|all| all.contains(&"audio".into()));
        let last = self.items.last().and_then(|item| item.pointer("/content/0/text")?.as_str());
        let script = last.unwrap_or_default().to_owned();
        let id = format!("resp_{:04}", self.number + 1);
        self.active = Some(id.clone());
        let response = json!({"object": "realtime.response", "id": id, "status": "in_progress", "output": [], "usage": null, "status_details": null});
        self.emit(json!({"type": "response.created", "response": response}));
        let item = json!({"id": format!("item_of_{id}"), "object": "realtime.item", "type": "message", "status": "in_progress", "role": "assistant", "content": []});
        self.emit(
            json!({"type": "response.output_item.added", "response_id": id, "output_index": 0, "item": item}),
        );
        let count = if script.contains("[long]") { LONG } else { WORDS.len() };
        for (number, word) in WORDS.iter().cycle().take(count).enumerate() {
            if number == 2 && (script.contains("[hang]") || script.contains("[leave]")) {
                self.out.push_back(if script.contains("[hang]") { Outgoing::Hang } else { Outgoing::Leave });
                return Ok(());
            }
            self.emit_word(&id, word, is_spoken);
        }
        self.finish(&id, is_spoken, count as u64, script.contains("[fail]"));
        Ok(())
    }

    fn emit_word(&mut self, id: &str, word: &str, is_spoken: bool) {
        let base = json!({"response_id": id, "item_id": format!("item_of_{id}"), "output_index": 0, "content_index": 0});
        let kind =
            if is_spoken { "response.output_audio_transcript.delta" } else { "response.output_text.delta" };
        let piece = |kind: &str, delta: &str| {
            let mut event = base.clone();
            put(&mut event, "type", kind);
            put(&mut event, "delta", delta);
            event
        };
        let text = piece(kind, word);
        self.emit(text);
        if is_spoken {
            let sound =
                piece("response.output_audio.delta", &STANDARD.encode(vec![7; SPOKEN_BYTES_PER_TOKEN]));
            self.emit(sound);
        }
    }

    fn finish(&mut self, id: &str, is_spoken: bool, words: u64, fails: bool) {
        let text =
            WORDS.iter().cycle().take(usize::try_from(words).unwrap_or(0)).copied().collect::<String>();
        let part = if is_spoken {
            json!({"type": "output_audio", "transcript": text})
        } else {
            json!({"type": "output_text", "text": text})
        };
        let item = json!({"id": format!("item_of_{id}"), "object": "realtime.item", "type": "message", "status": "completed", "role": "assistant", "content": [part]});
        self.emit(
            json!({"type": "response.output_item.done", "response_id": id, "output_index": 0, "item": item}),
        );
        let usage = self.usage(words, if is_spoken { words } else { 0 });
        let event = if fails {
            let error = json!({"type": "server_error", "code": "server_error", "message": "The server had an error."});
            done(id, "failed", &json!({"type": "failed", "error": error}), &usage)
        } else {
            done(id, "completed", &Value::Null, &usage)
        };
        self.items.push(item);
        self.out.push_back(Outgoing::Done(event));
        self.emit(json!({"type": "rate_limits.updated", "rate_limits": [{"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 60}]}));
    }

    /// The usage of a response: the conversation so far as input, of which the last response's context is
    /// cached, and the response as output.
    fn usage(&mut self, words: u64, spoken: u64) -> Value {
        let (text, sound) = self.context;
        let cached = self.last_text_tokens.min(text);
        self.last_text_tokens = text;
        self.context.0 += words;
        json!({
            "total_tokens": text + sound + words + spoken, "input_tokens": text + sound, "output_tokens": words + spoken,
            "input_token_details": {
                "text_tokens": text, "audio_tokens": sound, "image_tokens": 0, "cached_tokens": cached,
                "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": words, "audio_tokens": spoken},
        })
    }
}

fn done(id: &str, status: &str, details: &Value, usage: &Value) -> Value {
    json!({"type": "response.done", "response": {
        "object": "realtime.response", "id": id, "status": status, "status_details": details, "output": [], "usage": usage,
    }})
}

fn text_of<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn missing(param: &'static str) -> Wrong {
    Wrong::new("missing_required_parameter", format!("Missing required parameter: '{param}'.")).param(param)
}

/// The payload of a short masked frame.
fn unmask(frame: &[u8]) -> Vec<u8> {
    let Some((mask, payload)) = frame.get(2..).and_then(|rest| rest.split_at_checked(4)) else {
        return Vec::new();
    };
    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

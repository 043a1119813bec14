//! Streamed media responses: images as events, speech as events or raw bytes, files and videos as raw bytes.
//! They pass through as they arrive; only their usage, errors and end are read.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFacts, StreamFault};
use domain::{Fault, TraceId, UsageSource};
use framing::sse::read_event;
use json::members::Members;
use json::splice::join_small;

use super::answer::buffered_images;
use super::counts;
use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;
use crate::cut::EventBuffer;
use crate::transcript::AnswerForm;

pub const EVENTS: &[u8] = b"text/event-stream";
pub const JSON: &[u8] = b"application/json";
/// Media types that never contain speech or a video.
const DOCUMENTS: [&[u8]; 3] = [JSON, b"text/html", b"application/problem+json"];

/// Whether a content type is this media type, with parameters or without.
pub fn is_media_type(content_type: &[u8], named: &[u8]) -> bool {
    content_type.get(..named.len()).is_some_and(|start| start.eq_ignore_ascii_case(named))
}

pub fn is_document(content_type: &[u8]) -> bool {
    DOCUMENTS.into_iter().any(|named| is_media_type(content_type, named))
}

/// Whether an event reports an error, by its own type, its name or a member.
pub fn is_refusal(name: &[u8], members: &Members<'_>) -> bool {
    let is_error = match members.find_text("type") {
        Some(kind) => kind == "error",
        None => name == b"error",
    };
    is_error || members.find_text("error").is_some() || members.find_object("error").is_some()
}

/// The error as the last event of a stream of events.
pub fn error_event(fault: &Fault, trace: TraceId) -> Bytes {
    conversation::openai_error::error_event(fault, trace)
}

/// What a stream of media holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Images, as events.
    Images,
    /// Speech, as events or bytes.
    Speech,
    /// A stored file or video, whatever it is.
    File,
}

#[derive(Debug)]
pub(crate) struct MediaStream {
    media: Media,
    /// The response is SSE. Speech is raw bytes unless its content type says otherwise.
    has_events: bool,
    cutter: EventBuffer,
    pub(crate) facts: StreamFacts,
    images: u64,
    /// The events are OpenAI's own, so the last one is known.
    has_end: bool,
}

impl MediaStream {
    pub(crate) fn new(media: Media) -> Self {
        Self {
            media,
            has_events: media == Media::Images,
            cutter: EventBuffer::default(),
            facts: StreamFacts::default(),
            images: 0,
            has_end: media == Media::Images,
        }
    }

    /// The response's head arrived, with its content type.
    pub(crate) fn opened(&mut self, media_type: &[u8]) -> Result<(), StreamFault> {
        if self.media == Media::Images {
            return if is_media_type(media_type, EVENTS) {
                Ok(())
            } else {
                Err(StreamFault::Broken("not_a_stream"))
            };
        }
        // A stored file may have any content.
        if self.media == Media::File {
            return Ok(());
        }
        if is_document(media_type) {
            return Err(StreamFault::Broken("not_an_answer"));
        }
        self.has_events = is_media_type(media_type, EVENTS);
        Ok(())
    }

    pub(crate) fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if self.has_events {
            return self.split(&chunk, out);
        }
        if !chunk.is_empty() {
            self.facts.content_started = true;
            self.facts.events += 1;
            out.push(chunk);
        }
        Ok(())
    }

    fn split(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let first = out.len();
        let mut at = self.cutter.stray(chunk);
        out.push(chunk.slice(..at));
        let result = self.take_all(chunk, &mut at, out);
        join_small(out, first);
        result
    }

    fn take_all(&mut self, chunk: &Bytes, at: &mut usize, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        while let Some(event) = self.cutter.next(chunk, at)? {
            self.take(event, out)?;
        }
        Ok(())
    }

    /// Takes one complete event.
    fn take(&mut self, event: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let parsed = read_event(&event);
        let data = parsed.data.json(&event);
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.facts.finished = true;
        } else if !data.is_empty() {
            let Some(members) = Members::of_answer(data) else { return Err(StreamFault::Broken("bad_json")) };
            if is_refusal(parsed.name, &members) {
                return Err(chat::upstream_error(data));
            }
            let kind = members.find_text("type").unwrap_or(String::from_utf8_lossy(parsed.name));
            self.note(&kind, &members);
        }
        out.push(event);
        Ok(())
    }

    fn note(&mut self, kind: &str, members: &Members<'_>) {
        self.facts.events += 1;
        self.facts.content_started = true;
        self.has_end |= kind.starts_with("speech.audio.");
        if self.media == Media::Images && kind.ends_with(".completed") {
            self.images += 1;
            // Each image of a stream reports only its own usage.
            let mut usage = self.facts.usage.unwrap_or_default().plus(counts::of_pictures(members));
            usage.units.images = self.images;
            usage.source = UsageSource::Provider;
            self.facts.usage = Some(usage);
            self.facts.finished = true;
        } else if kind == "speech.audio.done" {
            self.facts.usage = counts::of_speech(members);
            self.facts.finished = true;
        }
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if self.cutter.holds_data() {
            let event = self.cutter.last();
            match self.take(event, out) {
                Err(StreamFault::Broken(_)) if !self.facts.finished => {
                    return Err(StreamFault::Broken("ended_early"));
                }
                Err(fault @ (StreamFault::Upstream(..) | StreamFault::UnreadableCall(..))) => {
                    return Err(fault);
                }
                Ok(()) | Err(StreamFault::Broken(_)) => {}
            }
        }
        if self.facts.events == 0 && self.media != Media::File {
            return Err(StreamFault::Broken("empty"));
        }
        if self.has_events && self.has_end && !self.facts.finished {
            return Err(StreamFault::Broken("ended_early"));
        }
        (self.facts.done, self.facts.finished) = (true, true);
        Ok(())
    }

    /// A stream of raw bytes cannot carry an error, so its connection is closed instead.
    pub(crate) fn error_event(&self, fault: &Fault, trace: TraceId) -> Bytes {
        if self.has_events { error_event(fault, trace) } else { Bytes::new() }
    }

    pub(crate) const fn ping(&self) -> &'static [u8] {
        if self.has_events { b": ping\n\n" } else { b"" }
    }
}

/// A buffered image response. If a form's `stream` field came after its files, the request was not known to
/// be streamed, and only the response's content type shows events: these are passed on unchanged, all at
/// once.
///
/// # Errors
/// As for a stream, and if the body is not a response of its kind.
pub fn buffered_image_answer(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    if answer_path.form != AnswerForm::Events {
        return buffered_images(body);
    }
    let mut stream = MediaStream::new(Media::Images);
    stream.push(body.clone(), &mut Vec::new())?;
    stream.finish(&mut Vec::new())?;
    Ok(BufferedAnswer::plain(body, AnswerFacts { usage: stream.facts.usage, content_bytes: 0 }))
}

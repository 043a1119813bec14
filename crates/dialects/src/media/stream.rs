//! Streamed media responses: images as events, speech as events or raw bytes, files and videos as raw bytes.
//! They pass through as they arrive, except for images from hosted models (fal and others), which are
//! rewritten. Of the others only the usage, errors and the end are read.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFacts, StreamFault};
use domain::limits::ANSWER_BYTES_MAX;
use domain::{Fault, Operation, TraceId, UsageSource};
use framing::sse::read_event;
use json::members::Members;
use json::splice::join_small;

use super::fal_images::HostedImages;
use super::fal_video::{QueuedVideo, no_content};
use super::veo::video_content;
use super::{buffered_answer, counts};
use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;
use crate::cut::EventBuffer;
use crate::options::VideoAsk;
use crate::transcript::AnswerForm;

const EVENTS: &[u8] = b"text/event-stream";
/// Media types that never contain speech.
const DOCUMENTS: [&[u8]; 3] = [b"application/json", b"text/html", b"application/problem+json"];

/// The body in which a video arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VideoBody {
    /// Vertex AI: the operation's state, which contains the video in Base64.
    Operation,
    /// fal: raw bytes, unless a JSON document explains why there is no video.
    Queue,
    /// That document.
    Refusal,
}

#[derive(Debug)]
pub(crate) struct MediaStream {
    operation: Operation,
    /// The response is SSE. Speech is raw bytes unless its content type says otherwise.
    has_events: bool,
    cutter: EventBuffer,
    pub(crate) facts: StreamFacts,
    images: u64,
    /// The events are OpenAI's own, so the last one is known.
    has_end: bool,
    /// Set if the images are rewritten as events for the client.
    hosted: Option<HostedImages>,
    /// Set for the content of a video, unless it passes through as it is.
    video: Option<VideoBody>,
}

impl MediaStream {
    /// Images of a hosted model.
    pub(crate) fn hosted(created_unix_s: u64) -> Self {
        Self { hosted: Some(HostedImages::new(created_unix_s)), ..Self::new(Operation::Images) }
    }

    /// The content of a video: from an operation, buffered until it is complete, or from a fal queue.
    pub(crate) fn video(ask: &VideoAsk) -> Self {
        let is_queued = matches!(ask, VideoAsk::Known { id, .. } if QueuedVideo::read(id).is_some());
        let video = if is_queued { VideoBody::Queue } else { VideoBody::Operation };
        Self { video: Some(video), ..Self::new(Operation::Video) }
    }

    /// Whether the body is a document that is buffered and read at the end.
    const fn holds_video(&self) -> bool {
        matches!(self.video, Some(VideoBody::Operation | VideoBody::Refusal))
    }

    pub(crate) fn new(operation: Operation) -> Self {
        Self {
            hosted: None,
            video: None,
            operation,
            has_events: operation.makes_pictures(),
            cutter: EventBuffer::default(),
            facts: StreamFacts::default(),
            images: 0,
            has_end: operation.makes_pictures(),
        }
    }

    /// The response's head arrived, with its content type.
    pub(crate) fn opened(&mut self, media_type: &[u8]) -> Result<(), StreamFault> {
        let is = |named: &[u8]| {
            media_type.get(..named.len()).is_some_and(|start| start.eq_ignore_ascii_case(named))
        };
        if let Some(hosted) = &mut self.hosted {
            hosted.is_whole = is(DOCUMENTS[0]);
            return if hosted.is_whole || is(EVENTS) {
                Ok(())
            } else {
                Err(StreamFault::Broken("not_a_stream"))
            };
        }
        if self.operation.makes_pictures() {
            return if is(EVENTS) { Ok(()) } else { Err(StreamFault::Broken("not_a_stream")) };
        }
        match self.video {
            Some(VideoBody::Operation) if !is(DOCUMENTS[0]) => {
                return Err(StreamFault::Broken("not_an_answer"));
            }
            Some(VideoBody::Queue) if is(DOCUMENTS[0]) => self.video = Some(VideoBody::Refusal),
            Some(VideoBody::Queue) if DOCUMENTS.into_iter().any(is) => {
                return Err(StreamFault::Broken("not_a_film"));
            }
            _ => {}
        }
        // A stored file may have any content.
        if self.operation.is_kept() {
            return Ok(());
        }
        if DOCUMENTS.into_iter().any(is) {
            return Err(StreamFault::Broken("not_an_answer"));
        }
        self.has_events = is(EVENTS);
        Ok(())
    }

    pub(crate) fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if self.holds_video() || self.hosted.as_ref().is_some_and(|hosted| hosted.is_whole) {
            return self.cutter.hold(&chunk, ANSWER_BYTES_MAX);
        }
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
        if self.hosted.is_none() {
            out.push(chunk.slice(..at));
        }
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
            let kind = members.find_text("type").unwrap_or(String::from_utf8_lossy(parsed.name));
            if kind == "error"
                || members.find_text("error").is_some()
                || members.find_object("error").is_some()
            {
                return Err(chat::upstream_error(data));
            }
            if let Some(hosted) = &mut self.hosted {
                self.facts.events += 1;
                return hosted.take(&members);
            }
            self.note(&kind, &members);
        }
        if self.hosted.is_none() {
            out.push(event);
        }
        Ok(())
    }

    fn note(&mut self, kind: &str, members: &Members<'_>) {
        self.facts.events += 1;
        self.facts.content_started = true;
        self.has_end |= kind.starts_with("speech.audio.");
        if self.operation.makes_pictures() && kind.ends_with(".completed") {
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

    /// Writes the images once the response is complete.
    fn finish_hosted(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let Some(hosted) = &mut self.hosted else { return Ok(()) };
        if hosted.is_whole {
            let body = self.cutter.take();
            let text = chat::operations::document(&body)?;
            let Some(members) = Members::of_answer(text) else { return Err(StreamFault::Broken("bad_json")) };
            hosted.take(&members)?;
            self.facts.events += 1;
        }
        if self.facts.events == 0 {
            return Err(StreamFault::Broken("empty"));
        }
        let Some(usage) = hosted.write(out) else {
            let what = if hosted.is_whole { "not_an_answer" } else { "ended_early" };
            return Err(StreamFault::Broken(what));
        };
        self.facts.usage = Some(usage);
        self.facts.content_started = true;
        (self.facts.done, self.facts.finished) = (true, true);
        Ok(())
    }

    fn finish_video(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let body = self.cutter.take();
        if self.video == Some(VideoBody::Refusal) {
            return Err(no_content(&body));
        }
        out.extend(video_content(&body)?);
        self.facts.events += 1;
        self.facts.content_started = true;
        (self.facts.done, self.facts.finished) = (true, true);
        Ok(())
    }

    pub(crate) const fn media_type(&self) -> Option<&'static str> {
        if matches!(self.video, Some(VideoBody::Operation)) { Some("video/mp4") } else { None }
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if self.holds_video() {
            return self.finish_video(out);
        }
        let is_whole = self.hosted.as_ref().is_some_and(|hosted| hosted.is_whole);
        if !is_whole && self.cutter.holds_data() {
            let event = self.cutter.last();
            match self.take(event, out) {
                Err(StreamFault::Broken(_)) if !self.facts.finished => {
                    return Err(StreamFault::Broken("ended_early"));
                }
                Err(fault @ StreamFault::Upstream(..)) => return Err(fault),
                Ok(()) | Err(StreamFault::Broken(_)) => {}
            }
        }
        if self.hosted.is_some() {
            return self.finish_hosted(out);
        }
        if self.facts.events == 0 && !self.operation.is_kept() {
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
        if self.has_events { conversation::openai_error::error_event(fault, trace) } else { Bytes::new() }
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
pub(crate) fn whole_pictures(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    if answer_path.form != AnswerForm::Events {
        return buffered_answer(answer_path.operation, body);
    }
    let mut stream = MediaStream::new(answer_path.operation);
    stream.push(body.clone(), &mut Vec::new())?;
    stream.finish(&mut Vec::new())?;
    Ok(BufferedAnswer::plain(body, AnswerFacts { usage: stream.facts.usage, content_bytes: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTIAL: &str = "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AA==\"}\n\n";
    const COMPLETED: &str = "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"AA==\",\"usage\":{\"input_tokens\":4,\"output_tokens\":9,\"total_tokens\":13}}\n\n";

    #[test]
    fn pictures_of_hosted_models_become_the_vendors_events() {
        let run = |media_type: &str, chunks: &[&str]| {
            let mut stream = MediaStream::hosted(7);
            let mut out = Vec::new();
            let mut read = stream.opened(media_type.as_bytes());
            for chunk in chunks {
                read = read.and_then(|()| stream.push(Bytes::copy_from_slice(chunk.as_bytes()), &mut out));
            }
            let read = read.and_then(|()| stream.finish(&mut out));
            (read, String::from_utf8(out.concat()).unwrap(), stream.facts)
        };
        let made = r#"{"images":[{"url":"data:image/png;base64,AA==","width":640,"height":480,"content_type":"image/png"}]}"#;
        let far = "data: {\"progress\":0.5}\n\n";
        let event = format!("data: {made}\n\n");
        let expected = (
            "event: image_generation.completed\n",
            r#""b64_json":"AA==""#,
            r#""created_at":7"#,
            r#""size":"640x480""#,
        );
        for (media_type, chunks) in [
            ("application/json", vec![&made[..20], &made[20..]]),
            ("text/event-stream; charset=utf-8", vec![far, far, &event]),
        ] {
            let (read, out, facts) = run(media_type, &chunks);
            assert_eq!(read, Ok(()), "{media_type}");
            assert!(out.starts_with(expected.0) && out.matches("event: ").count() == 1, "{out}");
            assert!([expected.1, expected.2, expected.3].iter().all(|part| out.contains(part)), "{out}");
            assert_eq!(facts.usage.map(|usage| usage.units.images), Some(1));
        }
        let broken = |media_type: &str, chunks: &[&str]| run(media_type, chunks).0.unwrap_err();
        assert_eq!(broken("text/event-stream", &[far]), StreamFault::Broken("ended_early"));
        assert_eq!(broken("text/event-stream", &[]), StreamFault::Broken("empty"));
        assert_eq!(broken("application/json", &["{}"]), StreamFault::Broken("not_an_answer"));
        assert_eq!(broken("text/html", &[]), StreamFault::Broken("not_a_stream"));
        let refused = "data: {\"detail\":\"gone\",\"error_type\":\"runner_disconnected\"}\n\n";
        assert!(matches!(broken("text/event-stream", &[refused]), StreamFault::Upstream(..)));
    }

    fn run(
        operation: Operation,
        media_type: &str,
        chunks: &[&str],
    ) -> (Result<(), StreamFault>, String, StreamFacts) {
        let mut stream = MediaStream::new(operation);
        let mut out = Vec::new();
        let read = stream.opened(media_type.as_bytes()).and_then(|()| {
            let mut chunks = chunks.iter().map(|chunk| Bytes::from(chunk.as_bytes().to_vec()));
            chunks.try_for_each(|chunk| stream.push(chunk, &mut out)).and_then(|()| stream.finish(&mut out))
        });
        (read, String::from_utf8(out.concat()).unwrap(), stream.facts)
    }

    #[test]
    fn pictures_pass_however_they_are_cut_and_are_counted() {
        let whole = [PARTIAL, COMPLETED].concat();
        for length in [1, 7, whole.len()] {
            let chunks: Vec<&str> =
                whole.as_bytes().chunks(length).map(|part| str::from_utf8(part).unwrap()).collect();
            let (read, out, facts) = run(Operation::Images, "text/event-stream; charset=utf-8", &chunks);
            assert_eq!((read, out.as_str()), (Ok(()), whole.as_str()));
            let usage = facts.usage.unwrap();
            assert_eq!((usage.input, usage.units.image_out, usage.units.images), (4, 9, 1));
        }
    }

    #[test]
    fn a_stream_of_pictures_that_breaks_is_no_end() {
        let events = "text/event-stream";
        assert_eq!(run(Operation::Images, events, &[PARTIAL]).0, Err(StreamFault::Broken("ended_early")));
        assert_eq!(run(Operation::Images, events, &[]).0, Err(StreamFault::Broken("empty")));
        let refused = "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"no\"}}\n\n";
        let (read, out, facts) = run(Operation::Images, events, &[refused]);
        assert!(matches!(read, Err(StreamFault::Upstream(..))) && out.is_empty() && !facts.content_started);
        assert_eq!(
            run(Operation::Images, "application/json", &["{}"]).0,
            Err(StreamFault::Broken("not_a_stream"))
        );
    }

    #[test]
    fn speech_is_bytes_or_events_as_its_head_says() {
        let (read, out, facts) = run(Operation::Speech, "audio/mpeg", &["ID3", "data: {"]);
        assert_eq!((read, out.as_str(), facts.usage), (Ok(()), "ID3data: {", None));
        assert!(facts.content_started && facts.finished);
        assert_eq!(run(Operation::Speech, "audio/mpeg", &[]).0, Err(StreamFault::Broken("empty")));
        let document = run(Operation::Speech, "application/json", &["{}"]).0;
        assert_eq!(document, Err(StreamFault::Broken("not_an_answer")));
        let delta = "data: {\"type\":\"speech.audio.delta\",\"audio\":\"AA==\"}\n\n";
        let done =
            "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":2,\"output_tokens\":8}}\n\n";
        let (read, out, facts) = run(Operation::Speech, "text/event-stream", &[delta, done]);
        assert_eq!((read, out), (Ok(()), [delta, done].concat()));
        assert_eq!(facts.usage.map(|usage| usage.units.audio_out), Some(8));
        assert_eq!(
            run(Operation::Speech, "text/event-stream", &[delta]).0,
            Err(StreamFault::Broken("ended_early"))
        );
    }
}

//! Forwards a Chat Completions stream to the client: complete events pass as they came, and accounting gets
//! its facts.

use bytes::{Bytes, BytesMut};
use conversation::answer::{StreamFacts, StreamFault};
use domain::Usage;
use domain::limits::{ANSWER_BYTES_MAX, EVENT_BYTES_MAX};
use framing::sse::{Data, EventSplitter, begins_stream, read_event, skip_lead};
use json::Span;
use json::splice::{Edit, join_small, splice, splice_apart};
use serde::Deserialize;

use super::chunk::{Reading, upstream_error};
use super::convert;
use super::encode::{Completion, DONE};

/// Forwards a stream in complete events. It holds at most one unfinished event, which is bounded.
///
/// A byte order mark and blank lines before the first event are dropped, since some SDKs lose that event
/// otherwise, and so is everything after `[DONE]`. All else is the upstream's own bytes.
#[derive(Debug, Default)]
pub struct StreamScanner {
    hide_usage: bool,
    mode: Mode,
    splitter: EventSplitter,
    carry: BytesMut,
    reading: Reading,
    facts: StreamFacts,
    /// Reused for its allocation.
    edits: Vec<Edit<'static>>,
    /// The previous event was forwarded with its own line end, so the rest of that line end is too.
    last_forwarded: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Too little has arrived to tell.
    #[default]
    Start,
    Events,
    /// One JSON document instead of a stream: buffered, then converted to chunks.
    Whole,
}

/// The fields that identify an answer in each of its chunks.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Called {
    id: String,
    created: u64,
    model: String,
}

fn last_completion(events: &[u8]) -> Completion {
    let data = events.split(|byte| *byte == b'\n').rev().filter_map(|line| line.strip_prefix(b"data:"));
    let called =
        data.filter_map(|json| serde_json::from_slice::<Called>(json).ok()).next().unwrap_or_default();
    Completion { id: called.id, created_unix_s: called.created, model: called.model }
}

/// What the client gets for an event.
enum Verdict {
    Show,
    Hide,
    /// The event with the scanner's edits, whose spans count from its first byte.
    Edit,
    Replace(Bytes),
}

impl StreamScanner {
    pub fn new(hide_usage: bool) -> Self {
        Self { hide_usage, reading: Reading::of_stream(), ..Self::default() }
    }

    /// Keeps the text of the answer, up to a bound, for a tokenizer to count.
    pub fn keep_text(&mut self) {
        self.reading.keep_text();
    }

    #[inline]
    pub fn kept_text(&self) -> &str {
        self.reading.kept_text()
    }

    /// Takes bytes from the upstream and appends to `out` what the client gets.
    ///
    /// # Errors
    /// The stream failed. What was complete before the fault is in `out`; nothing more may be pushed.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        match self.mode {
            Mode::Events => self.push_events(&chunk, out),
            Mode::Whole => self.hold(&chunk, ANSWER_BYTES_MAX),
            Mode::Start => self.start(chunk, out),
        }
    }

    /// Takes the end of the upstream's bytes.
    ///
    /// # Errors
    /// The stream ended before its terminal state. What could still be emitted is in `out`.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        match self.mode {
            Mode::Start if self.carry.is_empty() => return Err(StreamFault::Broken("empty")),
            Mode::Start => return Err(StreamFault::Broken("not_a_stream")),
            Mode::Whole => return self.finish_whole(out),
            Mode::Events => self.finish_tail(out)?,
        }
        if self.facts.done {
            return Ok(());
        }
        if !self.facts.finished {
            return Err(StreamFault::Broken(if self.facts.events == 0 { "empty" } else { "ended_early" }));
        }
        self.facts.done = true;
        out.push(Bytes::from_static(DONE));
        Ok(())
    }

    /// Ends the stream here as if the answer had reached its length: a finish reason for each open choice,
    /// usage where the client requested it, and `[DONE]`. `last` is what was emitted last; the answer's id is
    /// read from its events.
    pub fn length_stop(&self, last: &[u8], used: Usage) -> Bytes {
        let usage = (!self.hide_usage).then_some(used);
        let answer = last_completion(last);
        let finish = |index| answer.length_chunk(index, usage.is_some());
        let mut stop: Vec<Bytes> = self.reading.open_choices().map(finish).collect();
        stop.extend(usage.map(|usage| answer.usage_chunk(&usage)));
        stop.push(Bytes::from_static(DONE));
        Bytes::from(stop.concat())
    }

    #[inline]
    pub fn facts(&self) -> &StreamFacts {
        &self.facts
    }

    fn start(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let started = if self.carry.is_empty() {
            chunk
        } else {
            self.carry.extend_from_slice(&chunk);
            self.carry.split().freeze()
        };
        let text = skip_lead(&started);
        let lead = started.len() - text.len();
        match text.first() {
            Some(b'{' | b'[') => {
                self.mode = Mode::Whole;
                self.hold(text, ANSWER_BYTES_MAX)
            }
            Some(b'<') => Err(StreamFault::Broken("html")),
            _ => match begins_stream(text) {
                Some(true) => {
                    self.mode = Mode::Events;
                    self.push_events(&started.slice(lead..), out)
                }
                Some(false) => Err(StreamFault::Broken("not_a_stream")),
                None => self.hold(text, EVENT_BYTES_MAX),
            },
        }
    }

    fn hold(&mut self, bytes: &[u8], bytes_max: usize) -> Result<(), StreamFault> {
        if self.carry.len() + bytes.len() > bytes_max {
            return Err(StreamFault::Broken("oversized"));
        }
        self.carry.extend_from_slice(bytes);
        Ok(())
    }

    fn push_events(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let first = out.len();
        let result = self.split(chunk, out);
        join_small(out, first);
        result
    }

    fn split(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let mut at = 0;
        if self.splitter.take_stray_line_feed(chunk) {
            at = 1;
            if self.last_forwarded {
                out.push(chunk.slice(..at));
            }
        }
        if !self.carry.is_empty() {
            let rest = chunk.get(at..).unwrap_or_default();
            let Some(length) = self.splitter.find_end(rest) else { return self.hold(rest, EVENT_BYTES_MAX) };
            self.hold(rest.get(..length).unwrap_or_default(), EVENT_BYTES_MAX)?;
            at += length;
            let event = self.carry.split().freeze();
            let verdict = self.read(&event)?;
            self.put(&event, verdict, out);
        }
        // Adjacent events that pass unchanged are forwarded as one slice.
        let mut run = at;
        let result = loop {
            let rest = chunk.get(at..).unwrap_or_default();
            let Some(length) = self.splitter.find_end(rest) else { break self.hold(rest, EVENT_BYTES_MAX) };
            let verdict = match self.read(rest.get(..length).unwrap_or_default()) {
                Ok(Verdict::Show) => {
                    self.last_forwarded = true;
                    at += length;
                    continue;
                }
                Ok(verdict) => verdict,
                Err(fault) => break Err(fault),
            };
            put_run(chunk, run, at, out);
            self.put(&chunk.slice(at..at + length), verdict, out);
            at += length;
            run = at;
        };
        put_run(chunk, run, at, out);
        result
    }

    fn put(&mut self, event: &Bytes, verdict: Verdict, out: &mut Vec<Bytes>) {
        self.last_forwarded = matches!(verdict, Verdict::Show | Verdict::Edit);
        match verdict {
            Verdict::Show => out.push(event.clone()),
            // Small pieces are joined once everything that arrived is read.
            Verdict::Edit => splice_apart(event, &mut self.edits, out),
            Verdict::Replace(bytes) => out.push(bytes),
            Verdict::Hide => {}
        }
    }

    fn read(&mut self, event: &[u8]) -> Result<Verdict, StreamFault> {
        let parsed = read_event(event);
        let error = parsed.name == b"error";
        match parsed.data {
            Data::None if self.facts.done => Ok(Verdict::Hide),
            Data::None => Ok(Verdict::Show),
            Data::One(range) => {
                let verdict = self.read_data(event.get(range.clone()).unwrap_or_default(), error)?;
                for edit in &mut self.edits {
                    edit.span = Span::new(edit.span.start + range.start, edit.span.end + range.start);
                }
                Ok(verdict)
            }
            several @ Data::Many(_) => {
                let joined = Bytes::from(several.json(event).into_owned());
                match self.read_data(&joined, error)? {
                    Verdict::Edit => Ok(Verdict::Replace(self.rewrite(&joined))),
                    verdict => Ok(verdict),
                }
            }
        }
    }

    fn read_data(&mut self, json: &[u8], error: bool) -> Result<Verdict, StreamFault> {
        self.edits.clear();
        let text = json.trim_ascii();
        if text.starts_with(b"[DONE]") {
            return self.read_done(json);
        }
        if text.is_empty() {
            return Ok(if self.facts.done { Verdict::Hide } else { Verdict::Show });
        }
        if self.facts.done {
            self.read_late(json);
            return Ok(Verdict::Hide);
        }
        if error {
            return Err(upstream_error(json));
        }
        let chunk = self.reading.read(json, &mut self.edits)?;
        self.facts.events += 1;
        self.note();
        if self.hide_usage && chunk.usage_only {
            return Ok(Verdict::Hide);
        }
        self.facts.content_started |= chunk.content;
        if let Some(span) = chunk.usage_member.filter(|_| self.hide_usage) {
            self.edits.push(Edit::cut(span));
        }
        Ok(if self.edits.is_empty() { Verdict::Show } else { Verdict::Edit })
    }

    fn read_done(&mut self, json: &[u8]) -> Result<Verdict, StreamFault> {
        if self.facts.done {
            return Ok(Verdict::Hide);
        }
        if self.facts.events == 0 {
            return Err(StreamFault::Broken("empty"));
        }
        self.facts.done = true;
        // SDKs compare the exact string, so whitespace and anything after it is dropped.
        Ok(if json == b"[DONE]" { Verdict::Show } else { Verdict::Replace(Bytes::from_static(DONE)) })
    }

    /// A chunk after `[DONE]`: the client never sees it, but its usage counts.
    fn read_late(&mut self, json: &[u8]) {
        let content_bytes = self.reading.content_bytes;
        if self.reading.read(json, &mut self.edits).is_ok() {
            self.reading.content_bytes = content_bytes;
            self.facts.usage = self.reading.usage();
        }
        self.edits.clear();
    }

    fn note(&mut self) {
        self.facts.content_bytes = self.reading.content_bytes;
        self.facts.usage = self.reading.usage();
        self.facts.finished = self.reading.finished();
    }

    /// A single-line event from an edited one of several lines.
    fn rewrite(&mut self, json: &Bytes) -> Bytes {
        let mut pieces = vec![Bytes::from_static(b"data: ")];
        splice(json, &mut self.edits, &mut pieces);
        pieces.push(Bytes::from_static(b"\n\n"));
        Bytes::from(pieces.concat())
    }

    /// The last event, where the upstream ended without the blank line that SDKs wait for.
    fn finish_tail(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let event = self.carry.split().freeze();
        if event.is_empty() || read_event(&event).data == Data::None {
            return Ok(());
        }
        match self.read(&event) {
            Ok(Verdict::Hide) => Ok(()),
            Ok(verdict) => {
                let whole = matches!(verdict, Verdict::Replace(_));
                self.put(&event, verdict, out);
                if !whole {
                    // After a lone CR the first LF only completes the line end.
                    let ended = event.last() == Some(&b'\n');
                    out.push(Bytes::from_static(if ended { b"\n" } else { b"\n\n" }));
                }
                Ok(())
            }
            // Cut inside an event after the answer's end: nothing of the answer is lost.
            Err(StreamFault::Broken(_)) if self.facts.finished || self.facts.done => Ok(()),
            Err(StreamFault::Broken(_)) => Err(StreamFault::Broken("ended_early")),
            Err(fault) => Err(fault),
        }
    }

    fn finish_whole(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let body = self.carry.split().freeze();
        self.edits.clear();
        self.reading.renames_messages = false;
        let answer = self.reading.read(&body, &mut self.edits)?;
        if !answer.has_choices {
            return Err(StreamFault::Broken("not_a_completion"));
        }
        let mut pieces = Vec::new();
        splice(&body, &mut self.edits, &mut pieces);
        let chunks = convert::into_stream(&pieces.concat(), !self.hide_usage)?;
        self.note();
        self.facts.events = 1;
        self.facts.content_started = answer.content;
        self.facts.finished = true;
        self.facts.done = true;
        out.push(Bytes::from(chunks));
        Ok(())
    }
}

fn put_run(chunk: &Bytes, from: usize, to: usize, out: &mut Vec<Bytes>) {
    if from < to {
        out.push(chunk.slice(from..to));
    }
}

//! Relays an answer from an upstream to a client: forwarded as it is where both speak the same dialect,
//! otherwise translated event by event.

use crate::answer_path::AnswerPath;
use bytes::Bytes;
use conversation::answer::{Progress, ReadAnswer, ReadFrames, StreamFacts, StreamFault, WriteAnswer};
use conversation::constraints::AnswerFilter;
use conversation::prompt_text::{CountedText, is_counted};
use conversation::screening::AnswerGuard;
use conversation::turns::{Gatherer, TurnSignatures};
use domain::limits::{ANSWER_BYTES_MAX, EVENT_BYTES_MAX};
use domain::{Event, Fault, Finish, Grammar, PartKind, Reason, TraceId, Usage};
use framing::sse::{begins_stream, read_event, skip_lead};
use json::splice::join_small;

use crate::cut::EventBuffer;
use crate::media::{Media, MediaStream};
use crate::registry::{PassthroughScanner, face, ping, scanner, scanner_ping};
use crate::transcript::{AnswerForm, Transcript};
use crate::vendor::VendorStream;

/// An answer that is being streamed to a client.
#[derive(Debug)]
pub struct AnswerStream {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Most traffic: scanned without being turned into events.
    Scan(Box<PassthroughScanner>),
    Walk(Box<EventRelay>),
    /// Media: nothing of it is read but its usage.
    Media(Box<MediaStream>),
    /// A transcript, forwarded as it is.
    Listen(Box<Transcript>),
    /// An answer in a format of the vendor's own.
    Vendor(Box<dyn VendorStream>),
}

/// A stream whose events are read, and forwarded or rewritten.
#[derive(Debug)]
struct EventRelay {
    answer_path: AnswerPath,
    cutter: EventBuffer,
    /// Where the upstream streams binary frames.
    frames: Option<Box<dyn ReadFrames>>,
    mode: Mode,
    reader: Box<dyn ReadAnswer>,
    /// `None` where the upstream's own bytes are forwarded.
    writer: Option<Box<dyn WriteAnswer>>,
    progress: Progress,
    facts: StreamFacts,
    /// Reused for its allocation.
    events: Vec<Event>,
    /// The number of elements sent of the client's array.
    members: u64,
    /// The last event was forwarded unchanged, so the rest of its line end is too.
    last_passed: bool,
    gatherer: Gatherer,
    kept: CountedText,
    fitting: AnswerFilter,
    guard: Option<Box<dyn AnswerGuard>>,
    /// The answer ended with a call that nobody can read, in the upstream's word if it has one.
    unreadable: Option<Option<String>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Too little has arrived to tell.
    #[default]
    Start,
    Events,
    /// Binary frames; the decoder holds an incomplete one.
    Frames,
    /// One JSON document instead of a stream: buffered, then turned into events.
    Whole,
}

impl AnswerStream {
    /// The stream of a conversation, a text completion or a stored answer.
    pub fn new(answer_path: AnswerPath) -> Self {
        if answer_path.is_passthrough()
            && let Some(mut scanner) = scanner(answer_path.client, !answer_path.options.usage)
        {
            if answer_path.keeps_text {
                scanner.keep_text();
            }
            return Self { kind: Kind::Scan(Box::new(scanner)) };
        }
        Self { kind: Kind::Walk(Box::new(EventRelay::new(answer_path))) }
    }

    pub fn media(media: Media) -> Self {
        Self { kind: Kind::Media(Box::new(MediaStream::new(media))) }
    }

    pub fn transcript(client: Grammar) -> Self {
        Self { kind: Kind::Listen(Box::new(Transcript::new(client))) }
    }

    /// A stream in a format of the vendor's own.
    pub fn vendor(stream: Box<dyn VendorStream>) -> Self {
        Self { kind: Kind::Vendor(stream) }
    }

    /// The upstream's response head arrived, with this content type.
    ///
    /// # Errors
    /// The content type is not one that can be forwarded.
    pub fn opened(&mut self, media_type: &[u8]) -> Result<(), StreamFault> {
        match &mut self.kind {
            Kind::Scan(_) | Kind::Walk(_) => Ok(()),
            Kind::Media(media) => media.opened(media_type),
            Kind::Listen(transcript) => {
                transcript.set_form(AnswerForm::of(std::str::from_utf8(media_type).ok()));
                Ok(())
            }
            Kind::Vendor(vendor) => vendor.opened(media_type),
        }
    }

    /// The content type for the client, where it differs from the upstream's.
    pub fn media_type(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::Vendor(vendor) => vendor.media_type(),
            Kind::Scan(_) | Kind::Walk(_) | Kind::Media(_) | Kind::Listen(_) => None,
        }
    }

    /// Takes bytes from the upstream and appends to `out` what the client gets.
    ///
    /// # Errors
    /// The stream failed. What was complete before the fault is in `out`; nothing more may be pushed.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        match &mut self.kind {
            Kind::Scan(scanner) => scanner.push(chunk, out),
            Kind::Walk(walk) => walk.push(&chunk, out),
            Kind::Media(media) => media.push(chunk, out),
            Kind::Listen(transcript) => transcript.push(&chunk, out),
            Kind::Vendor(vendor) => vendor.push(chunk, out),
        }
    }

    /// Takes the end of the upstream's bytes.
    ///
    /// # Errors
    /// The stream ended before its terminal state. What could still be emitted is in `out`.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        match &mut self.kind {
            Kind::Scan(scanner) => scanner.finish(out),
            Kind::Walk(walk) => walk.finish(out),
            Kind::Media(media) => media.finish(out),
            Kind::Listen(transcript) => transcript.finish(out),
            Kind::Vendor(vendor) => vendor.finish(out),
        }
    }

    /// The provider's id of the answer, where it sent one.
    pub fn id(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scan(_) | Kind::Media(_) | Kind::Listen(_) | Kind::Vendor(_) => None,
            Kind::Walk(walk) => walk.progress.id.as_deref(),
        }
    }

    pub fn facts(&self) -> &StreamFacts {
        match &self.kind {
            Kind::Scan(scanner) => scanner.facts(),
            Kind::Walk(walk) => &walk.facts,
            Kind::Media(media) => &media.facts,
            Kind::Listen(transcript) => transcript.facts(),
            Kind::Vendor(vendor) => vendor.facts(),
        }
    }

    /// The start of the answer's text, where it is kept.
    pub fn text(&self) -> &str {
        match &self.kind {
            Kind::Scan(scanner) => scanner.kept_text(),
            Kind::Walk(walk) => walk.kept.as_str(),
            Kind::Media(_) | Kind::Listen(_) | Kind::Vendor(_) => "",
        }
    }

    /// Reasoning signatures that the provider must get back with the results of this answer's tool calls.
    pub fn signatures(&self) -> Option<TurnSignatures> {
        match &self.kind {
            Kind::Scan(_) | Kind::Media(_) | Kind::Listen(_) | Kind::Vendor(_) => None,
            Kind::Walk(walk) => walk.gatherer.state(walk.answer_path.upstream),
        }
    }

    /// Ends the stream here as if the answer had reached its length. `last` is what was emitted last.
    pub fn length_stop(&mut self, last: &[u8], used: Usage) -> Bytes {
        match &mut self.kind {
            Kind::Scan(scanner) => scanner.length_stop(last, used),
            Kind::Walk(walk) => walk.length_stop(used),
            // These formats can't express an early end.
            Kind::Media(_) | Kind::Listen(_) | Kind::Vendor(_) => Bytes::new(),
        }
    }

    /// The error as the last event of the stream.
    pub fn error_event(&mut self, fault: &Fault, trace: TraceId) -> Bytes {
        match &mut self.kind {
            Kind::Scan(_) | Kind::Listen(_) => conversation::openai_error::error_event(fault, trace),
            Kind::Walk(walk) => walk.error_event(fault, trace),
            Kind::Media(media) => media.error_event(fault, trace),
            Kind::Vendor(vendor) => vendor.error_event(fault, trace),
        }
    }

    /// Whether an error event is a regular end of a stream in the client's dialect (Responses), so that the
    /// stream closes normally after it. In other dialects a normal close would look like the end of an
    /// answer.
    pub fn ends_with_its_error(&self) -> bool {
        match &self.kind {
            Kind::Scan(_) | Kind::Media(_) | Kind::Listen(_) | Kind::Vendor(_) => false,
            Kind::Walk(walk) => {
                face(walk.answer_path.client).facts().ends_with_its_error && !walk.answer_path.is_look()
            }
        }
    }

    /// Bytes that keep an idle stream open; none where the format has no place for them.
    pub fn ping(&self) -> Bytes {
        match &self.kind {
            Kind::Scan(_) => Bytes::from_static(scanner_ping()),
            Kind::Listen(transcript) => Bytes::from_static(transcript.ping()),
            Kind::Walk(walk) if walk.answer_path.as_array => Bytes::from_static(b"\n"),
            Kind::Walk(walk) => Bytes::from_static(ping(walk.answer_path.client)),
            Kind::Media(media) => Bytes::from_static(media.ping()),
            Kind::Vendor(vendor) => Bytes::from_static(vendor.ping()),
        }
    }
}

impl EventRelay {
    fn new(answer_path: AnswerPath) -> Self {
        Self {
            reader: if answer_path.is_look() {
                face(answer_path.upstream).stored_reader()
            } else {
                face(answer_path.upstream).reader()
            },
            writer: (!answer_path.is_passthrough())
                .then(|| face(answer_path.client).writer(answer_path.options())),
            frames: face(answer_path.upstream).frames(),
            kept: CountedText::new(answer_path.keeps_text),
            fitting: AnswerFilter::new(&answer_path.options.constraints),
            guard: answer_path.options.guard.as_ref().map(|guard| guard.guard()),
            answer_path,
            cutter: EventBuffer::default(),
            mode: Mode::Start,
            progress: Progress::default(),
            facts: StreamFacts::default(),
            events: Vec::new(),
            members: 0,
            last_passed: false,
            gatherer: Gatherer::default(),
            unreadable: None,
        }
    }

    fn push(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        match self.mode {
            Mode::Start => self.start(chunk, out),
            Mode::Events => self.split(chunk, out),
            Mode::Frames => self.cut(chunk, out),
            Mode::Whole => self.cutter.hold(chunk, ANSWER_BYTES_MAX),
        }
    }

    fn start(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        self.cutter.hold(chunk, EVENT_BYTES_MAX)?;
        let text = skip_lead(self.cutter.held());
        let lead = self.cutter.held().len() - text.len();
        self.mode = match (text.first(), &self.frames) {
            (None, _) => return Ok(()),
            (Some(b'{' | b'['), _) => Mode::Whole,
            (Some(b'<'), _) => return Err(StreamFault::Broken("html")),
            (Some(first), Some(frames)) => {
                if !frames.begins(*first) {
                    return Err(StreamFault::Broken("not_a_stream"));
                }
                Mode::Frames
            }
            (Some(_), None) => match begins_stream(text) {
                Some(true) => Mode::Events,
                Some(false) => return Err(StreamFault::Broken("not_a_stream")),
                None => return Ok(()),
            },
        };
        let rest = self.cutter.take().slice(lead..);
        self.push(&rest, out)
    }

    fn split(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let first = out.len();
        let mut at = self.cutter.stray(chunk);
        if at > 0 && self.last_passed {
            out.push(chunk.slice(..at));
        }
        let result = self.take_all(chunk, &mut at, out);
        join_small(out, first);
        result
    }

    fn take_all(&mut self, chunk: &Bytes, at: &mut usize, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        while let Some(event) = self.cutter.next(chunk, at)? {
            self.take(&event, out)?;
        }
        Ok(())
    }

    /// Takes bytes of a stream of binary frames.
    fn cut(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let first = out.len();
        if let Some(frames) = &mut self.frames {
            frames.push(chunk);
        }
        let result = self.take_frames(out);
        join_small(out, first);
        result
    }

    /// Takes the complete frames. Anything after the end of an answer is ignored.
    fn take_frames(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        while !self.facts.done
            && let Some(frames) = &mut self.frames
        {
            let mut events = std::mem::take(&mut self.events);
            events.clear();
            let frame = match frames.next_frame(self.reader.as_mut(), &mut events) {
                Ok(Some(frame)) => frame,
                nothing => {
                    self.events = events;
                    return nothing.map(drop);
                }
            };
            self.facts.events += u64::from(!events.is_empty());
            self.note_all(&mut events);
            let mut result = frame.result;
            if self.writer.is_some() {
                result = result.and(self.write_readable(&mut events, out));
            } else if result.is_ok() {
                self.progress.events += 1;
                out.push(frame.bytes);
            }
            self.events = events;
            result?;
        }
        Ok(())
    }

    /// One complete event of the upstream.
    fn take(&mut self, event: &Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        self.last_passed = false;
        let parsed = read_event(event);
        let data = &*parsed.data.json(event);
        if self.facts.done {
            return Ok(());
        }
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let mut read = if data.trim_ascii().is_empty() {
            Ok(())
        } else {
            self.reader.event(parsed.name, data, &mut events)
        };
        self.facts.events += u64::from(!events.is_empty());
        self.note_all(&mut events);
        if self.writer.is_some() {
            read = read.and(self.write_readable(&mut events, out));
        } else if read.is_ok() {
            self.progress.events += u64::from(!data.is_empty());
            self.pass(event, data, out);
        }
        self.events = events;
        read
    }

    /// Forwards the upstream's own bytes, in the framing that the client wants.
    fn pass(&mut self, event: &Bytes, data: &[u8], out: &mut Vec<Bytes>) {
        if !self.answer_path.as_array {
            self.last_passed = true;
            out.push(event.clone());
        } else if !data.is_empty() {
            let member = Bytes::copy_from_slice(data);
            self.add_member(member, out);
        }
        if self.answer_path.as_array && self.facts.done {
            out.push(Bytes::from_static(b"]"));
        }
    }

    fn add_member(&mut self, member: Bytes, out: &mut Vec<Bytes>) {
        out.push(Bytes::from_static(if self.members == 0 { b"[" } else { b",\r\n" }));
        out.push(member);
        self.members += 1;
    }

    /// Writes the events. Of an answer with a call that nobody can read, those before its end; the fault comes with
    /// the last event, since the usage may come after the end.
    fn write_readable(&mut self, events: &mut Vec<Event>, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let is_over = events.contains(&Event::Done);
        if let Some((at, word)) = unreadable_call(events) {
            events.truncate(at);
            self.write(events, out);
            self.unreadable = Some(word);
        }
        match &self.unreadable {
            None => self.write(events, out),
            Some(word) if is_over => {
                let usage = self.facts.usage.map(Box::new);
                return Err(StreamFault::UnreadableCall(word.clone(), usage));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Rewrites events with the stream's writer, or with one that continues after what was forwarded.
    fn write(&mut self, events: &mut Vec<Event>, out: &mut Vec<Bytes>) {
        let ends = events.contains(&Event::Done);
        self.fitting.apply(events);
        if let Some(guard) = &mut self.guard {
            guard.apply(events);
        }
        let mut bytes = Vec::new();
        match &mut self.writer {
            Some(writer) => events.drain(..).for_each(|event| writer.event(event, &mut bytes)),
            None => {
                let mut writer = self.resumed();
                events.drain(..).for_each(|event| writer.event(event, &mut bytes));
            }
        }
        self.put(bytes, out);
        if ends && self.answer_path.as_array {
            out.push(Bytes::from_static(if self.members == 0 { b"[]" } else { b"]" }));
        }
    }

    fn put(&mut self, bytes: Vec<u8>, out: &mut Vec<Bytes>) {
        if bytes.is_empty() {
            return;
        }
        let bytes = Bytes::from(bytes);
        if !self.answer_path.as_array {
            return out.push(bytes);
        }
        // The line feeds that our own writers put between two documents; none of their JSON contains one.
        for frame in bytes.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: ")) {
            self.add_member(bytes.slice_ref(frame.trim_ascii_end()), out);
        }
    }

    fn resumed(&self) -> Box<dyn WriteAnswer> {
        let mut writer = face(self.answer_path.client).writer(self.answer_path.options());
        writer.resume(&self.progress);
        writer
    }

    fn note_all(&mut self, events: &mut Vec<Event>) {
        events.iter().for_each(|event| self.note(event));
        let is_end = |event: &Event| *event == Event::Done;
        if let (Some(estimator), Some(end)) =
            (&self.answer_path.options.estimator, events.iter().position(is_end))
            && !is_counted(self.facts.usage.as_ref(), self.facts.content_bytes)
        {
            let usage = Event::Usage(estimator.usage(self.kept.as_str(), self.facts.content_bytes));
            self.note(&usage);
            events.insert(end, usage);
        }
    }

    fn note(&mut self, event: &Event) {
        // Where the upstream's own bytes are forwarded, the client sees the signatures and sends them back
        // itself.
        if self.writer.is_some() {
            self.gatherer.note(event, self.answer_path.upstream);
        }
        let (progress, facts) = (&mut self.progress, &mut self.facts);
        progress.note(event);
        self.kept.note(event);
        facts.content_bytes += content_bytes(event);
        match event {
            Event::Delta { text, .. } => facts.content_started |= !text.is_empty(),
            Event::Begin { kind, .. } => {
                facts.content_started |= matches!(
                    kind,
                    PartKind::Call { .. }
                        | PartKind::Redacted
                        | PartKind::Image { .. }
                        | PartKind::Foreign { .. }
                );
            }
            Event::Usage(usage) => facts.usage = Some(*usage),
            Event::Done => (facts.done, facts.finished) = (true, true),
            _ => {}
        }
        facts.finished |= progress.is_finished();
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        match self.mode {
            Mode::Start if self.cutter.held().is_empty() && self.answer_path.is_look() => {}
            Mode::Start if self.cutter.held().is_empty() => return Err(StreamFault::Broken("empty")),
            Mode::Start => return Err(StreamFault::Broken("not_a_stream")),
            Mode::Whole => return self.finish_whole(out),
            Mode::Frames
                if !self.facts.finished && self.frames.as_ref().is_some_and(|frames| !frames.is_empty()) =>
            {
                return Err(StreamFault::Broken("ended_early"));
            }
            Mode::Events | Mode::Frames => {}
        }
        if self.cutter.holds_data() {
            let event = self.cutter.last();
            match self.take(&event, out) {
                Ok(()) => {}
                Err(StreamFault::Broken(_)) if self.facts.finished => {}
                Err(StreamFault::Broken(_)) => return Err(StreamFault::Broken("ended_early")),
                Err(fault) => return Err(fault),
            }
        }
        if self.facts.done {
            return Ok(());
        }
        let mut events = Vec::new();
        let ended = self.reader.end(&mut events);
        self.note_all(&mut events);
        ended?;
        if self.answer_path.is_look() {
            return Ok(());
        }
        if !self.facts.done {
            return Err(StreamFault::Broken(if self.facts.events == 0 { "empty" } else { "ended_early" }));
        }
        self.write_readable(&mut events, out)
    }

    /// A buffered response instead of a stream is converted into one.
    fn finish_whole(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        let body = self.cutter.take();
        let mut events = Vec::new();
        self.reader.read_buffered(&body, &mut events)?;
        self.facts.events = 1;
        // Nothing was forwarded yet, so the writer starts from the beginning.
        if self.writer.is_none() {
            self.writer = Some(face(self.answer_path.client).writer(self.answer_path.options()));
        }
        self.note_all(&mut events);
        self.write_readable(&mut events, out)
    }

    fn length_stop(&mut self, used: Usage) -> Bytes {
        // The response is already complete: its usage comes with its end.
        if self.answer_path.is_look() {
            return Bytes::new();
        }
        let mut events: Vec<Event> = self
            .progress
            .open
            .iter()
            .map(|(choice, part, _)| Event::End { choice: *choice, part: *part })
            .collect();
        let open = self.progress.unfinished();
        events.extend(open.map(|choice| Event::Finish { choice, finish: Finish::of(Reason::Length) }));
        events.extend([Event::Usage(used), Event::Done]);
        let mut out = Vec::new();
        self.write(&mut events, &mut out);
        Bytes::from(out.concat())
    }

    fn error_event(&mut self, fault: &Fault, trace: TraceId) -> Bytes {
        // The stored response itself did not fail: it can be read again.
        if self.answer_path.is_look() {
            return conversation::openai_error::error_event(fault, trace);
        }
        let mut bytes = Vec::new();
        match &mut self.writer {
            Some(writer) => writer.error(fault, trace, &mut bytes),
            None => self.resumed().error(fault, trace, &mut bytes),
        }
        let mut out = Vec::new();
        self.put(bytes, &mut out);
        if self.answer_path.as_array {
            out.push(Bytes::from_static(b"]"));
        }
        Bytes::from(out.concat())
    }
}

/// Where an answer ends because its model wrote a tool call that nobody can read, and the upstream's word for it.
/// Most dialects have no word for that, and an agent would take the answer for complete.
pub(crate) fn unreadable_call(events: &[Event]) -> Option<(usize, Option<String>)> {
    events.iter().enumerate().find_map(|(at, event)| match event {
        Event::Finish { finish, .. } if finish.reason == Reason::MalformedCall => {
            Some((at, finish.raw.clone()))
        }
        _ => None,
    })
}

/// The bytes of text and tool calls in an event.
pub(crate) const fn content_bytes(event: &Event) -> u64 {
    match event {
        Event::Delta { text, .. } => text.len() as u64,
        Event::Begin { kind: PartKind::Call { name, .. }, .. } => name.len() as u64,
        _ => 0,
    }
}

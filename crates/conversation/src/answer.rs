//! What reads an upstream's answer into events, and what writes events for a client: the two halves of every
//! response translation.

use std::fmt::Debug;
use std::rc::Rc;

use bytes::Bytes;
use domain::{Event, Fault, FaultClass, PartKind, TraceId, UpstreamReport, Usage};
use json::{JsonError, JsonFault};

use crate::constraints::AnswerConstraints;
use crate::prompt_text::UsageEstimator;
use crate::screening::GuardAnswers;

/// Why a stream or a buffered response is not a usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFault {
    /// The upstream reported an error in its body. The report's provider is left empty.
    Upstream(UpstreamReport, FaultClass),
    /// The bytes do not follow the expected format; the word names the problem.
    Broken(&'static str),
    /// The answer is complete and worthless: its model wrote a tool call that nobody can read. The upstream's own word
    /// for it, and the usage that it reported, which it bills.
    UnreadableCall(Option<String>, Option<Box<Usage>>),
}

impl StreamFault {
    /// What the upstream reports.
    ///
    /// # Errors
    /// It reports nothing: the bytes are wrong, in this way.
    pub fn report(self) -> Result<(UpstreamReport, FaultClass), &'static str> {
        match self {
            Self::Upstream(report, class) => Ok((report, class)),
            Self::Broken(word) => Err(word),
            Self::UnreadableCall(code, _) => {
                let message = Some("The model called a tool in a form that can't be read.".to_owned());
                Ok((UpstreamReport { code, message, ..UpstreamReport::default() }, FaultClass::Upstream))
            }
        }
    }
}

/// What is known about a stream so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamFacts {
    /// The latest usage that the upstream reported; `None` where the caller must estimate.
    pub usage: Option<Usage>,
    /// Some content of the answer was emitted, more than a role.
    pub content_started: bool,
    /// Decoded text and tool bytes seen.
    pub content_bytes: u64,
    /// Upstream events that carried something; comments and end markers do not count.
    pub events: u64,
    /// Every choice that started has its finish reason.
    pub finished: bool,
    /// The end of the stream was emitted: nothing follows.
    pub done: bool,
}

/// What accounting needs to know about a buffered response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnswerFacts {
    /// The usage that the upstream reported; `None` where the caller must estimate.
    pub usage: Option<Usage>,
    /// Decoded text and tool bytes for that estimate; not counted where the upstream reported usage.
    pub content_bytes: u64,
}

/// Reads an upstream's answer. It holds only the state that tells parts apart, and no content.
pub trait ReadAnswer: Debug {
    /// Reads one event of a stream: its name (empty where it has none) and its data.
    ///
    /// # Errors
    /// The upstream reports a failure, or the bytes do not match its wire format.
    fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault>;

    /// The upstream's bytes ended. Emits `Done` where the answer is complete and `Done` was not emitted yet.
    ///
    /// # Errors
    /// The answer is incomplete.
    fn end(&mut self, out: &mut Vec<Event>) -> Result<(), StreamFault>;

    /// Reads a buffered response into the events that a stream of it would have carried, `Start` to `Done`.
    ///
    /// # Errors
    /// As `event`.
    fn read_buffered(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault>;
}

/// Reads an upstream's stream of binary frames, which arrives in pieces.
pub trait ReadFrames: Debug {
    /// Whether a body that starts with this byte can be such a stream.
    fn begins(&self, first: u8) -> bool;

    /// Takes bytes. The frames that are complete must be taken before more is pushed.
    fn push(&mut self, bytes: &[u8]);

    /// Passes the next frame to the reader; `None` if more bytes are needed.
    ///
    /// # Errors
    /// The bytes are not a frame. Nothing behind them can be read.
    fn next_frame(
        &mut self,
        reader: &mut dyn ReadAnswer,
        out: &mut Vec<Event>,
    ) -> Result<Option<FrameRead>, StreamFault>;

    /// No part of a frame is held.
    fn is_empty(&self) -> bool;
}

/// A frame that was read.
#[derive(Debug)]
pub struct FrameRead {
    /// The whole frame, as it arrived.
    pub bytes: Bytes,
    /// What the reader said of it, or the error that the frame carries.
    pub result: Result<(), StreamFault>,
}

/// How far an answer has come, for a writer that takes it over midway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// `Start` was emitted, with these values.
    pub started: bool,
    pub id: Option<String>,
    pub model: Option<String>,
    pub created_unix_s: Option<u64>,
    /// Parts that started and have not ended.
    pub open: Vec<(u32, u32, PartKind)>,
    /// How many parts started, over all choices.
    pub parts: u32,
    /// Indices of the choices that started, and of those that have their finish reason.
    pub started_choices: Vec<u32>,
    pub finished: Vec<u32>,
    /// Events that were emitted, for dialects that number them.
    pub events: u64,
    pub usage: Option<Usage>,
}

/// Writes an answer in a client's dialect.
pub trait WriteAnswer: Debug {
    /// Continues an answer whose start was forwarded from the upstream as it came.
    fn resume(&mut self, progress: &Progress);

    /// Appends the stream bytes for one event; none where the dialect has nothing to send for it yet.
    fn event(&mut self, event: Event, out: &mut Vec<u8>);

    /// Ends the stream with an error. The caller closes the connection after it.
    fn error(&mut self, fault: &Fault, trace: TraceId, out: &mut Vec<u8>);

    /// Writes a buffered response.
    fn write_buffered(&mut self, events: Vec<Event>) -> Vec<u8>;
}

/// How the client wants its answer.
#[derive(Debug, Clone, Default)]
pub struct AnswerOptions {
    /// The stream reports usage.
    pub usage: bool,
    /// The model's name as the client sent it, for answers that must name a model where the upstream named
    /// none.
    pub model: String,
    /// Basis of the answer's id where the upstream gave none: unguessable, and unique to this exchange.
    pub trace: Option<TraceId>,
    /// The answer has that id, whatever the upstream gave: it is kept under it.
    pub is_named_by_trace: bool,
    /// Seconds of Unix time, used where the upstream reported none.
    pub created_unix_s: u64,
    /// What else the request determines about its answer.
    pub constraints: AnswerConstraints,
    /// The upstream speaks the client's dialect, so its signatures and vendor-specific parts are valid there.
    pub is_same_dialect: bool,
    /// Supplies what the upstream does not report about the answer.
    pub estimator: Option<Rc<dyn UsageEstimator>>,
    /// Checks the answer, or puts back what was masked in the request: the answer is then written anew, also for a
    /// client of the upstream's dialect.
    pub guard: Option<Rc<dyn GuardAnswers>>,
}

impl Progress {
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Start { id, model, created_unix_s } => {
                self.started = true;
                self.id.clone_from(id);
                self.model.clone_from(model);
                self.created_unix_s = *created_unix_s;
            }
            Event::Begin { choice, part, kind } => {
                self.parts += 1;
                self.open.push((*choice, *part, kind.clone()));
                self.begin(*choice);
            }
            Event::End { choice, part } => self.open.retain(|(c, p, _)| (c, p) != (choice, part)),
            Event::Finish { choice, .. } => {
                self.begin(*choice);
                if !self.finished.contains(choice) {
                    self.finished.push(*choice);
                }
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            _ => {}
        }
    }

    fn begin(&mut self, choice: u32) {
        if !self.started_choices.contains(&choice) {
            self.started_choices.push(choice);
        }
    }

    #[inline]
    pub fn is_finished(&self) -> bool {
        !self.started_choices.is_empty() && self.started_choices.len() == self.finished.len()
    }

    /// The choices without a finish reason; the first one, where none started.
    pub fn unfinished(&self) -> impl Iterator<Item = u32> {
        let started_choices =
            if self.started_choices.is_empty() { vec![0] } else { self.started_choices.clone() };
        let finished = self.finished.clone();
        started_choices.into_iter().filter(move |choice| !finished.contains(choice))
    }
}

impl From<JsonError> for StreamFault {
    fn from(error: JsonError) -> Self {
        Self::Broken(match error.fault {
            JsonFault::Utf8 => "bad_utf8",
            JsonFault::Truncated => "cut_json",
            JsonFault::Depth | JsonFault::Keys => "oversized_json",
            JsonFault::Syntax(_) | JsonFault::Control | JsonFault::Surrogate => "bad_json",
        })
    }
}

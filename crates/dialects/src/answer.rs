//! What each grammar's answers are read with and written with: the two halves of every translation.

use std::fmt::Debug;
use std::rc::Rc;

use domain::{Dialect, Event, Fault, FaultClass, Grammar, PartKind, TraceId, UpstreamReport, Usage};

use crate::asked::Asked;
use crate::said::Guess;
use crate::{anthropic, chat, converse, gemini, responses};

/// Why a stream, or a buffered answer, is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFault {
    /// The upstream said so in its body. The report's provider is left empty.
    Upstream(UpstreamReport, FaultClass),
    /// The bytes are not what was promised; the word says how.
    Broken(&'static str),
}

/// What is known of a stream so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamFacts {
    /// The latest that the upstream reported; `None` where the caller must estimate.
    pub usage: Option<Usage>,
    /// Some part of the answer itself, more than a role, was put out.
    pub content_started: bool,
    /// Decoded text and tool bytes seen.
    pub content_bytes: u64,
    /// Events seen that say something; comments and ends are none.
    pub events: u64,
    /// Every choice that began has its finish reason.
    pub finished: bool,
    /// The end was put out: nothing follows.
    pub done: bool,
}

/// What the books need of a buffered answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnswerFacts {
    /// What the upstream reported; `None` where the caller must estimate.
    pub usage: Option<Usage>,
    /// Decoded text and tool bytes, for that estimate; not counted where the upstream reported.
    pub content_bytes: u64,
}

/// Reads an upstream's answer. It holds what it must to tell parts apart, and nothing of their content.
pub(crate) trait ReadAnswer: Debug {
    /// One event of a stream: its name, empty where it has none, and its data.
    ///
    /// # Errors
    /// The upstream says that it failed, or the bytes are not of its grammar.
    fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault>;

    /// The upstream's bytes ended. `Done` is put out where the answer is whole and that was not told yet.
    ///
    /// # Errors
    /// The answer is not whole.
    fn end(&mut self, out: &mut Vec<Event>) -> Result<(), StreamFault>;

    /// A whole answer, as the events that would have told it, `Start` to `Done`.
    ///
    /// # Errors
    /// As `event`.
    fn whole(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault>;
}

/// How far an answer is that somebody goes on to write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// `Start` went out, with these.
    pub started: bool,
    pub id: Option<String>,
    pub model: Option<String>,
    pub created_unix_s: Option<u64>,
    /// Parts that began and have not ended.
    pub open: Vec<(u32, u32, PartKind)>,
    /// How many parts began, of all choices.
    pub parts: u32,
    /// Choices that began and those that have their finish, by number.
    pub begun: Vec<u32>,
    pub finished: Vec<u32>,
    /// Events that went out, for grammars that number them.
    pub events: u64,
    pub usage: Option<Usage>,
}

/// Writes an answer for a client.
pub(crate) trait WriteAnswer: Debug {
    /// Goes on with an answer whose beginning others wrote.
    fn resume(&mut self, progress: &Progress);

    /// Bytes of the stream that say an event; none where the grammar has nothing to say of it yet.
    fn event(&mut self, event: Event, out: &mut Vec<u8>);

    /// The stream fails here. The caller breaks the connection off behind it.
    fn error(&mut self, fault: &Fault, trace: TraceId, out: &mut Vec<u8>);

    /// A whole answer.
    fn whole(&mut self, events: Vec<Event>) -> Vec<u8>;
}

/// How the client wants its answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// Usage is told in a stream.
    pub usage: bool,
    /// What the client called the model, for answers that must name one and were told none.
    pub model: String,
    /// What an answer is called that its upstream gave no name: unguessable, of this exchange.
    pub trace: Option<TraceId>,
    /// Seconds of Unix time, where the upstream told none.
    pub created_unix_s: u64,
    /// What else its request asks of it.
    pub asked: Asked,
    /// Thoughts are told where the grammar's vendor has no place for them, as servers of one's own models do.
    pub thoughts: bool,
    /// The upstream speaks the client's grammar, so that its seals and what is of its own making are good there.
    pub is_own: bool,
    /// Who knows of the answer what its upstream does not say.
    pub guess: Option<Rc<dyn Guess>>,
}

pub(crate) fn reader(grammar: Grammar) -> Box<dyn ReadAnswer> {
    match grammar {
        // Vectors come whole, and are read elsewhere.
        Grammar::Chat | Grammar::Hosted => Box::new(chat::Reader::default()),
        Grammar::Responses => Box::new(responses::Reader::default()),
        Grammar::Anthropic => Box::new(anthropic::Reader::default()),
        Grammar::Gemini => Box::new(gemini::Reader::default()),
        Grammar::Converse => Box::new(converse::Reader::default()),
    }
}

pub(crate) fn writer(grammar: Grammar, wish: Wish) -> Box<dyn WriteAnswer> {
    match grammar {
        // No client speaks the last; chat is what all others have in common.
        Grammar::Chat | Grammar::Hosted => Box::new(chat::Writer::new(wish)),
        Grammar::Responses => Box::new(responses::Writer::new(wish)),
        Grammar::Anthropic => Box::new(anthropic::Writer::new(wish)),
        Grammar::Gemini => Box::new(gemini::Writer::new(wish)),
        Grammar::Converse => Box::new(converse::Writer::new(wish)),
    }
}

/// What the body of a stream is called.
#[must_use]
pub const fn stream_type(dialect: Dialect, as_array: bool) -> &'static str {
    match dialect {
        Dialect::Converse => "application/vnd.amazon.eventstream",
        // A stream that is one array is a document, as far as its type tells.
        _ if as_array => "application/json; charset=utf-8",
        _ => "text/event-stream; charset=utf-8",
    }
}

/// A comment or event that keeps a silent stream open, in a form that the grammar's SDKs pass over.
#[must_use]
pub const fn ping(grammar: Grammar) -> &'static [u8] {
    match grammar {
        Grammar::Chat | Grammar::Responses | Grammar::Hosted => b": ping\n\n",
        Grammar::Anthropic => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
        // Its SDKs read no comments, and their chats forget an answer that has a chunk without parts; blank lines pass.
        Grammar::Gemini => b"\r\n\r\n",
        // No frame says nothing to every SDK: some hand on each event, known or not.
        Grammar::Converse => b"",
    }
}

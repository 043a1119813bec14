//! A model's answer as a sequence of events: the intermediate form that every wire format's stream, and every
//! buffered response, is read into and written from.

use crate::prompt::Json;
use crate::usage::Usage;

/// One event of an answer. Each choice has parts that begin and end, numbered from 0 in the order in which
/// they begin. Only tool calls may be open at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The first event, once.
    Start {
        id: Option<String>,
        model: Option<String>,
        created_unix_s: Option<u64>,
    },
    Begin {
        choice: u32,
        part: u32,
        kind: PartKind,
    },
    /// The next piece of a text, thinking or refusal part, or of a tool call's arguments.
    Delta {
        choice: u32,
        part: u32,
        text: String,
    },
    /// The provider's signature over a thinking part or a tool call; the latest replaces earlier ones.
    Signature {
        choice: u32,
        part: u32,
        value: String,
    },
    /// A citation in the text, as its wire format writes it.
    Citation {
        choice: u32,
        part: u32,
        json: Json,
    },
    /// Log probabilities of text tokens: an array in the chat format.
    Logprobs {
        choice: u32,
        tokens: Json,
    },
    End {
        choice: u32,
        part: u32,
    },
    Finish {
        choice: u32,
        finish: Finish,
    },
    /// Total usage so far: the latest replaces earlier ones.
    Usage(Usage),
    /// The last event, once: the answer is complete.
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartKind {
    Text,
    Thought {
        is_summary: bool,
        /// The item's id at its provider.
        id: Option<String>,
    },
    /// Redacted thinking: only its provider can read it, and its signature is all that there is.
    Redacted,
    Refusal,
    Call {
        id: String,
        name: String,
        is_custom: bool,
    },
    /// A picture that the model made; it has no deltas.
    Image {
        media_type: String,
        base64: String,
    },
    /// A part specific to one provider; it has no deltas.
    Foreign {
        kind: String,
        json: Json,
    },
}

/// How a choice ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    pub reason: Reason,
    /// The stop reason in the upstream's own word.
    pub raw: Option<String>,
    /// The stop sequence that matched, if the upstream reports it.
    pub sequence: Option<String>,
    /// Why content was refused, in the provider's words.
    pub explanation: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Stop,
    StopSequence,
    Length,
    ContextLength,
    Calls,
    ContentFilter,
    Refusal,
    /// The provider paused the turn: send the answer so far again to continue.
    Pause,
    /// The model wrote a tool call that cannot be parsed.
    MalformedCall,
    /// The provider reports that it failed, without details.
    Error,
}

impl Reason {
    pub const ALL: [Self; 10] = [
        Self::Stop,
        Self::StopSequence,
        Self::Length,
        Self::ContextLength,
        Self::Calls,
        Self::ContentFilter,
        Self::Refusal,
        Self::Pause,
        Self::MalformedCall,
        Self::Error,
    ];
}

impl Finish {
    pub const fn of(reason: Reason) -> Self {
        Self { reason, raw: None, sequence: None, explanation: None }
    }
}

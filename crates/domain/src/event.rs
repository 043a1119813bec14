//! An answer as a series of events: the form that every grammar's stream, and every whole answer, is read into and
//! written from.

use crate::prompt::Json;
use crate::usage::Usage;

/// One step of an answer. For each choice parts begin and end, numbered from 0 in the order in which they began; several
/// may be open at once only where they are calls of tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The first, once.
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
    /// More of a text, a thought, a refusal, or of a call's arguments.
    Delta {
        choice: u32,
        part: u32,
        text: String,
    },
    /// The provider's seal on a thought or a call; the latest counts.
    Signature {
        choice: u32,
        part: u32,
        value: String,
    },
    /// A citation of the text, as its grammar writes it.
    Citation {
        choice: u32,
        part: u32,
        json: Json,
    },
    /// Of the tokens of a text: an array as the chat grammar writes it.
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
    /// All that was used up to here: the latest counts.
    Usage(Usage),
    /// The last, once: the answer is whole.
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
    /// A thought that only its provider reads; its seal is all there is of it.
    Redacted,
    Refusal,
    Call {
        id: String,
        name: String,
        is_custom: bool,
    },
    /// Of one provider's own making; it has no deltas.
    Foreign {
        kind: String,
        json: Json,
    },
}

/// How a choice ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    pub reason: Reason,
    /// The word of the upstream's grammar.
    pub raw: Option<String>,
    /// The stop sequence that was met, where the upstream tells.
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
    /// The provider waits to go on: the answer so far is to be sent again.
    Pause,
    /// The model called a tool in a way that nobody can read.
    MalformedCall,
    /// The provider says that it failed, without saying how.
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
    #[must_use]
    pub const fn of(reason: Reason) -> Self {
        Self { reason, raw: None, sequence: None, explanation: None }
    }
}

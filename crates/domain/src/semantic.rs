//! What the semantic response cache did for an exchange.

use serde::{Deserialize, Serialize};

use crate::ids::TraceId;

/// How the search for an answer to a text of the same meaning ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SemanticOutcome {
    Hit,
    /// No text that is alike enough.
    NoneAlike,
    /// One that is, but differs in a number, a negation or a literal.
    Guarded,
    /// One that is, but the plan of now has nobody who made its answer, or a hook refuses it.
    NotAllowed,
    /// The text was embedded for the answer alone, which was to be made anew.
    Renewed,
    EmbeddingFailed,
    /// The embedding took too long.
    EmbeddingLate,
}

impl SemanticOutcome {
    pub const WORDS: [&str; 7] =
        ["hit", "none_alike", "guarded", "not_allowed", "renewed", "embedding_failed", "embedding_late"];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::NoneAlike => "none_alike",
            Self::Guarded => "guarded",
            Self::NotAllowed => "not_allowed",
            Self::Renewed => "renewed",
            Self::EmbeddingFailed => "embedding_failed",
            Self::EmbeddingLate => "embedding_late",
        }
    }
}

/// The search of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SemanticSearch {
    pub outcome: SemanticOutcome,
    /// Of the text that is most alike; `None` where there was none to compare with.
    pub similarity_bps: Option<u16>,
    /// The exchange that embedded the text.
    pub embedding: TraceId,
}

//! What the semantic response cache did for an exchange.

use serde::{Deserialize, Serialize};

use crate::ids::TraceId;

crate::words! {
    /// How the search for an answer to a text of the same meaning ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum SemanticOutcome {
        Hit = "hit",
        /// No text that is alike enough.
        NoneAlike = "none_alike",
        /// One that is, but differs in a number, a negation or a literal.
        Guarded = "guarded",
        /// One that is, but the plan of now has nobody who made its answer, or a hook refuses it.
        NotAllowed = "not_allowed",
        /// The text was embedded for the answer alone, which was to be made anew.
        Renewed = "renewed",
        EmbeddingFailed = "embedding_failed",
        /// The embedding took too long.
        EmbeddingLate = "embedding_late",
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

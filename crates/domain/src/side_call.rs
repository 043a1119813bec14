//! Exchanges that the gateway makes for the sake of a client's.

use serde::{Deserialize, Serialize};

use crate::ids::TraceId;

/// What an exchange was made for that no client asked for. Records store the variant's number: append new ones at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SideCallPurpose {
    /// To compare a text with those of kept answers.
    SemanticCache,
    /// To have a provider cache the beginning of prompts by name.
    ContextCache,
    /// To have a provider read a cached prefix before it expires.
    CacheKeepAlive,
    /// To work through a batch that a client made: this one it asked for, but not alone.
    BatchItem,
    /// To compare a model with the one that answered a kept request: a person asked for it.
    Replay,
    /// To have a model go on with the results of tools that the gateway executed.
    ToolStep,
}

impl SideCallPurpose {
    pub const WORDS: [&str; 6] =
        ["semantic_cache", "context_cache", "cache_keep_alive", "batch_item", "replay", "tool_step"];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SemanticCache => "semantic_cache",
            Self::ContextCache => "context_cache",
            Self::CacheKeepAlive => "cache_keep_alive",
            Self::BatchItem => "batch_item",
            Self::Replay => "replay",
            Self::ToolStep => "tool_step",
        }
    }
}

/// An exchange of our own, for the sake of a client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideCall {
    pub purpose: SideCallPurpose,
    /// The client's exchange.
    pub parent: TraceId,
}

impl SideCall {
    /// Whether it is a request of a batch.
    #[must_use]
    pub fn is_batch_item(&self) -> bool {
        self.purpose == SideCallPurpose::BatchItem
    }

    /// Whether somebody wants its answer, as one of a batch, of a replay or of a step with tools.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        matches!(
            self.purpose,
            SideCallPurpose::BatchItem | SideCallPurpose::Replay | SideCallPurpose::ToolStep
        )
    }
}

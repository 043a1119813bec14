//! Exchanges that the gateway makes for the sake of a client's.

use serde::{Deserialize, Serialize};

use crate::ids::TraceId;

crate::words! {
    /// What an exchange was made for that no client asked for. Records store the variant's number: append new ones at the end.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum SideCallPurpose {
        /// To compare a text with those of kept answers.
        SemanticCache = "semantic_cache",
        /// To have a provider cache the beginning of prompts by name.
        ContextCache = "context_cache",
        /// To have a provider read a cached prefix before it expires.
        CacheKeepAlive = "cache_keep_alive",
        /// To work through a batch that a client made: this one it asked for, but not alone.
        BatchItem = "batch_item",
        /// To compare a model with the one that answered a kept request: a person asked for it.
        Replay = "replay",
        /// To have a model go on with the results of tools that the gateway executed.
        ToolStep = "tool_step",
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
    pub fn is_batch_item(&self) -> bool {
        self.purpose == SideCallPurpose::BatchItem
    }

    /// Whether somebody wants its answer, as one of a batch, of a replay or of a step with tools.
    pub fn is_wanted(&self) -> bool {
        matches!(
            self.purpose,
            SideCallPurpose::BatchItem | SideCallPurpose::Replay | SideCallPurpose::ToolStep
        )
    }
}

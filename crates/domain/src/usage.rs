//! What an exchange used, in disjoint token classes, and how far to trust the counts.

use serde::{Deserialize, Serialize};

/// Where the counts came from; the order is from most to least trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum UsageSource {
    /// The upstream reported them.
    Provider,
    /// We estimated them, because the upstream said nothing or said zero for a non-empty answer.
    Estimate,
    /// Nothing was used, or nothing is known.
    #[default]
    None,
}

/// Disjoint counts: `prompt_total = input + cached_read + cache writes`, `completion_total = output + reasoning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens billed at the full price.
    pub input: u64,
    pub cached_read: u64,
    pub cache_write: u64,
    pub cache_write_long: u64,
    /// Visible output, without reasoning.
    pub output: u64,
    pub reasoning: u64,
    pub source: UsageSource,
}

impl Usage {
    #[must_use]
    pub const fn prompt_total(&self) -> u64 {
        self.input
            .saturating_add(self.cached_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.cache_write_long)
    }

    #[must_use]
    pub const fn completion_total(&self) -> u64 {
        self.output.saturating_add(self.reasoning)
    }

    #[must_use]
    pub fn is_estimated(&self) -> bool {
        self.source == UsageSource::Estimate
    }
}

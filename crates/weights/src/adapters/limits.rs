//! What a runner allows of adapters.

use crate::limits::LORA_RANK_MAX;

/// Limits on the adapters of a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most adapters that may be registered.
    pub registered: usize,
    /// The most of them that may be in memory at once.
    pub resident: usize,
    pub resident_bytes: u64,
    /// The highest LoRA rank.
    pub rank: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { registered: 32, resident: 16, resident_bytes: 8 << 30, rank: LORA_RANK_MAX }
    }
}

//! When each step of an exchange ended, in microseconds after its first byte.

use serde::{Deserialize, Serialize};

/// Times of one exchange. Zero means "not reached". They come from the monotonic clock, so that none is ever
/// negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timeline {
    pub decoded_us: u64,
    pub admitted_us: u64,
    pub planned_us: u64,
    /// The first attempt's intent was in the journal.
    pub intent_us: u64,
    /// The answering attempt's head arrived.
    pub upstream_head_us: u64,
    /// The first content byte went out.
    pub first_byte_us: u64,
    pub settled_us: u64,
}

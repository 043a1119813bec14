//! When each step of an exchange ended, in microseconds after its first byte.

use std::time::Duration;

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

/// Whole microseconds of a duration.
pub const fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros() as u64)
}

//! One clock for the emulator and the client, which are two processes.

use std::time::{SystemTime, UNIX_EPOCH};

/// Digits of a stamp in an answer.
pub const STAMP_DIGITS: usize = 19;

/// Nanoseconds since 1970: 19 digits until the year 2286, and the same in every process of the machine. A step of the
/// clock during a run would spoil some samples; the medians over rounds don't see it.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

//! A clock that the emulator and the client, two processes, share.

use std::time::{SystemTime, UNIX_EPOCH};

/// Digits of a timestamp in an answer.
pub const STAMP_DIGITS: usize = 19;

/// Nanoseconds since 1970: 19 digits until the year 2286, and the same in every process on the machine. If
/// the clock is set during a run, some samples are wrong, but medians over rounds are not affected.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

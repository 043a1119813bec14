//! How long clients may take.

use std::time::Duration;

use domain::limits::{
    BODY_GRACE, BODY_RATE_MIN_BYTES_S, HEADER_READ_TIME_MAX, WRITE_RATE_MIN_BYTES_S, WRITE_STALL_MAX,
};

use crate::limits::CLIENT_IDLE_TIME_MAX;

/// How long clients may take. The defaults are the limits of `domain`; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// For a request head, from its first byte or the start of the connection.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    pub body_grace: Duration,
    pub body_rate_bytes_s: u64,
    /// A client that lets its response wait for so long, beyond what the minimum rate takes, is cut off.
    pub write_stall: Duration,
    pub write_rate_bytes_s: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            head: HEADER_READ_TIME_MAX,
            idle: CLIENT_IDLE_TIME_MAX,
            body_grace: BODY_GRACE,
            body_rate_bytes_s: BODY_RATE_MIN_BYTES_S,
            write_stall: WRITE_STALL_MAX,
            write_rate_bytes_s: WRITE_RATE_MIN_BYTES_S,
        }
    }
}

//! The Responses format from outside: what is read, what is written, and that both agree.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a helper that fails should fail its test"
)]
#![expect(clippy::result_large_err, reason = "a fault ends a test as it ends a stream")]

mod address;
mod cases;
mod round_trips;
mod stored;
mod usage;

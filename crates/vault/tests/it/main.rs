//! The vault from outside: what opens, what does not, and what is never shown.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "the helpers of tests may fail as loudly as the tests"
)]

mod keys;
mod master;
mod rotation;
mod seals;
mod support;

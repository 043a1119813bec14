//! Manually built snapshots, and the keeper over a scripted source.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "the helpers of tests may fail as loudly as the tests"
)]

mod keeper;
mod lookups;
mod support;

//! Reconciliation from outside: records of ours against lines of theirs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the lint knows test functions, not the helpers of an integration test"
)]

mod cases;
mod fixture;
#[path = "../shared/month.rs"]
mod generated;
mod month;
mod names;
mod properties;

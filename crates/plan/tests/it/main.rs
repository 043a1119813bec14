//! The broker from outside: tables of questions and what must come of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the lint knows test functions, not the helpers of an integration test"
)]

mod broker;
mod faults;
mod house;
mod precedence;
mod properties;
mod resolution;
mod served;

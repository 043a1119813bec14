//! The broker from outside: tables of questions and their expected answers.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the lint knows test functions, not the helpers of an integration test"
)]

mod aliases;
mod batches;
mod broker;
mod fallbacks;
mod faults;
mod fixture;
mod others;
mod policy_oracle;
mod precedence;
mod properties;
mod resolution;
mod served;
mod shares;
mod strategies;
mod uploads;

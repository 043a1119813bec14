//! Admission from outside: who is let in, who is told what, and the tab that follows.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the lint knows test functions, not the helpers of an integration test"
)]

mod admission;
mod house;
mod identity;
mod signed;

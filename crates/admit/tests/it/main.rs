//! Admission from outside: authentication, error messages, and the tab.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the lint knows test functions, not the helpers of an integration test"
)]

mod address;
mod admission;
mod fixture;
mod identity;
mod signature;
mod signed;

//! The queue under simulated workers that die, sleep past their leases, fail and come back, on a real
//! database.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests may fail as loudly as the tests"
)]

mod fixture;
mod machine;
mod runner;
mod simulation;

//! Which of a workspace's nodes gives a request its first token soonest, by what is known of each. Pure: the gateway and the
//! simulation of a fleet call the same functions.

mod expected;
mod hashing;
mod holders;
mod limits;
pub mod metrics;

pub use expected::{Expected, LoadReport, NodeLoad, expected, order, usual_us};
pub use hashing::{mix, rendezvous};
pub use holders::{CachedAt, PrefixHolders};

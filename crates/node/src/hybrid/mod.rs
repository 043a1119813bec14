//! Hybrid nodes: which requests may leave for a backend and why, how they are sent, and how the answer comes back.

mod backend;
mod departure;
mod hops;
mod rates;
mod relay;
mod topology;
mod trigger;

pub(crate) use backend::Forwarded;
pub(crate) use departure::{Departure, Staying};
pub(crate) use hops::{HOPS, Hops};
pub(crate) use rates::Rates;
pub(crate) use relay::RelayedBody;
pub use topology::{Topology, TopologySources};
pub use trigger::LeftBecause;
pub(crate) use trigger::because_of;

//! HTTP/1.1 as a client, polled by the request that uses the connection: no task of its own, no queue between.
//!
//! We choose the peer and write the request, so only answers are parsed, and those strictly: what has two readings is
//! refused, and a connection is used again only after an answer whose end is beyond doubt.

mod answer;
mod chunks;
mod connection;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod wire;

pub(crate) use answer::Framing;
pub(crate) use connection::{Broke, Connection};
pub(crate) use wire::Wire;

//! An HTTP/1.1 client, polled by the request that uses the connection: no task of its own, no queue between.
//!
//! We choose the peer and write the request, so only responses are parsed, and those strictly: an ambiguous
//! one is refused, and a connection is reused only after a response whose end is beyond doubt.

mod answer;
mod chunks;
mod connection;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod wire;

pub(crate) use answer::Framing;
pub(crate) use connection::{Connection, ExchangeError};
pub(crate) use wire::Wire;

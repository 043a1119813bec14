//! The stored agents of a project over the A2A protocol, version 1.0, in its JSON-RPC binding: cards, messages, tasks and streams, made of
//! the calls of the API that the same key could make.

mod calls;
mod card;
mod errors;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod following;
mod limits;
mod listing;
mod message;
mod methods;
mod params;
mod rpc;
mod sending;
mod task;
mod transport;
mod turns;

pub use limits::MESSAGE_BYTES_MAX;
pub use transport::{A2aRequest, serve};

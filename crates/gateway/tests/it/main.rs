//! The gateway over real sockets: what it accepts, what it refuses, and what it
//! does with slow and broken clients.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails should fail its test"
)]

mod bodies;
mod fixture;
mod flow;
mod heads;
mod http2;
mod overload;
mod patience;

//! The HTTP client, over real sockets: the guard, the pools, and what a dropped response does.

#![expect(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod bypasses;
mod document;
mod pools;
mod support;
mod tunnels;
mod wire;

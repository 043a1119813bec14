//! The way out, over real sockets: the guard, the pools, and what a dropped answer does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bypasses;
mod document;
mod pools;
mod support;

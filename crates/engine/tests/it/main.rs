//! The engine's arithmetic against a second one that shares nothing with it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod guessing;
mod oracle;
mod parity;
mod ruled;
mod running;
mod shapes;
mod words;

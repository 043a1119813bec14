//! The engine's arithmetic against a second one that shares nothing with it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod oracle;
mod parity;
mod running;
mod shapes;
mod speech;
mod templates;

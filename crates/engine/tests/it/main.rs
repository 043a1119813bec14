//! The engine's arithmetic against a second one that shares nothing with it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::cast_possible_truncation)]

mod builtin;
mod learning;
mod oracle;
mod parity;
mod running;
mod shapes;
mod training;

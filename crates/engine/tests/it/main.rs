//! Integration tests of the engine; among others, its arithmetic is compared with an independent second
//! implementation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::cast_possible_truncation)]

mod adapters;
mod builtin;
mod cases;
mod device;
mod eight_bits;
mod goldens;
mod guessing;
mod learning;
mod local;
mod on_disk;
mod oracle;
mod parity;
mod ruled;
mod running;
mod shapes;
mod shards;
mod shelf;
mod signs;
mod teaching;
mod timeline;
mod training;
mod vectors;
mod words;

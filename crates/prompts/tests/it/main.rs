//! Integration tests of chat templates and of the output parser.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::cast_possible_truncation)]

mod speech;
mod templates;

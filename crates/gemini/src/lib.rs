//! Google's Gemini API: `generateContent`, its stream, and the other operations on a model.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends a stream, so its size is paid once and not per chunk"
)]

mod address;
mod batch;
mod cache;
mod divide;
mod embed;
mod error;
mod face;
mod failure;
mod features;
mod finish;
mod limits;
mod media;
mod models;
mod names;
mod objects;
mod own_batch;
mod pooled;
mod read;
mod reader;
mod request;
mod results;
mod schema;
mod shared_fields;
mod vectors;
mod wire;
mod write;
mod writer;

#[cfg(test)]
pub mod tests;

pub use address::read_address;
pub use batch::{CONTENTS, GeminiBatchStatus, read_gemini_batch_status};
pub use cache::write_change as write_cache_change;
pub use error::{blocked_body, error_body, status};
pub use face::Gemini;
pub use failure::read_error as read_gemini_error;
pub use names::camel;
pub use read::read_prompt;
pub use reader::Reader;
pub use request::decode_request;
pub use results::GeminiBatchResults;
pub use write::write_prompt;
pub use writer::Writer;

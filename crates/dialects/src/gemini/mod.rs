//! Google's Gemini API: `generateContent`, its stream, and the other operations on a model.

mod address;
mod batch;
mod embed;
mod error;
mod failure;
mod finish;
mod media;
mod names;
mod read;
mod reader;
mod request;
mod results;
mod schema;
mod vectors;
mod wire;
mod write;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use address::{Verb, gemini_address};
pub use batch::{CONTENTS, GeminiBatchStatus, read_gemini_batch_status};
pub(crate) use batch::{decode as decode_batch, read_item as read_batch_item, rename as rename_batch};
pub(crate) use embed::{read_texts, write_texts};
pub(crate) use error::{blocked_body, error_body};
pub use failure::read_error as read_gemini_error;
pub(crate) use names::camel;
pub(crate) use read::read_prompt;
pub(crate) use reader::Reader;
pub(crate) use request::decode_request;
pub use results::{GeminiBatchResults, TooLong};
pub(crate) use vectors::{read_vectors, write_vectors};
pub(crate) use write::write_prompt;
pub(crate) use writer::Writer;

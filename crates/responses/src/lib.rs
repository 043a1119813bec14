//! OpenAI's Responses wire format: requests, responses, streams and errors, read and written.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends a stream, so its size is paid once and not per chunk"
)]

mod address;
mod annotations;
mod ending;
mod face;
mod features;
mod frames;
mod hosted;
mod items;
mod named;
mod output;
mod read;
mod reader;
mod request;
mod shared_fields;
mod stored;
mod tools;
mod usage;
mod write;
mod write_items;
mod writer;

pub use face::Responses;
pub use read::read_prompt;
pub use reader::Reader;
pub use request::{decode_request, decode_stored_request};
pub use shared_fields::ITEM;
pub use stored::{ReportedResponse, read_response};
pub use stored::{StoredReader, read_final_usage};
pub use write::write_prompt;
pub use writer::Writer;

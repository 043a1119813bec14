//! Amazon Bedrock's Converse API: requests, responses, streams and errors, read and written. Bedrock is
//! called with it, whichever vendor made the model, and clients can call this gateway with it.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends a stream, so its size is paid once and not per chunk"
)]

mod address;
mod answer;
mod decode;
mod error;
mod face;
mod features;
mod frames;
mod invoke;
mod job;
mod limits;
mod objects;
mod pieces;
mod read;
mod reader;
mod refused;
mod shared_fields;
mod usage;
mod whole;
mod write;
mod writer;

#[cfg(test)]
mod tests;

pub use address::read_model_path;
pub use decode::decode_request;
pub use error::read_error;
pub use face::Converse;
pub use frames::Frames;
pub use invoke::{InvokedStream, invoked_request, invoked_stream_headers};
pub use read::read_prompt;
pub use reader::Reader;
pub use refused::{error_body, error_type, status};
pub use write::write_prompt;
pub use writer::Writer;

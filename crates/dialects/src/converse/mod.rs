//! Amazon Bedrock's Converse API: requests, responses, streams and errors, read and written. Bedrock is
//! called with it, whichever vendor made the model, and clients can call this gateway with it.

mod address;
mod answer;
mod decode;
mod error;
mod frames;
mod pieces;
mod read;
mod reader;
mod refused;
mod usage;
mod whole;
mod write;
mod writer;

#[cfg(test)]
mod tests;

pub use address::converse_address;
pub(crate) use decode::decode_request;
pub use error::read_error;
pub(crate) use frames::{begins_frames, no_frame, read_frame, read_frames};
pub(crate) use read::read_prompt;
pub(crate) use reader::Reader;
pub(crate) use refused::{error_body, error_type};
pub(crate) use write::write_prompt;
pub(crate) use writer::Writer;

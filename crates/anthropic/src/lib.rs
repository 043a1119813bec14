//! Anthropic's Messages API: requests, responses, streams and errors, read and written.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends a stream, so its size is paid once and not per chunk"
)]

mod answer;
mod batch;
mod blocks;
mod decode;
mod error;
mod face;
mod features;
mod limits;
mod marks;
mod models;
mod objects;
mod own_batch;
mod parts;
mod pieces;
mod pooled;
mod prompt;
mod reader;
mod repeat;
mod settings;
mod shared_fields;
mod tools;
mod turns;
mod usage;
mod whole;
mod wire;
mod write;
mod writer;

pub use decode::decode_request;
pub use error::{error_body, status};
pub use face::Anthropic;
pub use prompt::read_prompt;
pub use reader::Reader;
pub use write::write_prompt;
pub use writer::{PING, Writer};

#[cfg(test)]
pub mod tests;

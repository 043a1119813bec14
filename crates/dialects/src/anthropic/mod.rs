//! Anthropic's Messages API: requests, responses, streams and errors, read and written.

mod answer;
mod blocks;
mod decode;
mod error;
mod marks;
mod parts;
mod pieces;
mod prompt;
mod reader;
mod settings;
mod tools;
mod turns;
mod usage;
mod whole;
mod wire;
mod write;
mod writer;

pub(crate) use decode::decode_request;
pub(crate) use error::error_body;
pub(crate) use prompt::read_prompt;
pub(crate) use reader::Reader;
pub(crate) use write::write_prompt;
pub(crate) use writer::{PING, Writer};

#[cfg(test)]
pub(crate) mod tests;

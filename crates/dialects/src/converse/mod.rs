//! The converse grammar: what Amazon Bedrock is asked in and answers, whoever made the model. No client speaks it.

mod error;
mod frames;
mod pieces;
mod reader;
mod usage;
mod write;

#[cfg(test)]
mod tests;

pub use error::read_error;
pub(crate) use frames::{begins_frames, no_frame, read_frame, read_frames};
pub(crate) use reader::Reader;
pub(crate) use write::write_prompt;

//! OpenAI's Responses wire format: requests, responses, streams and errors, read and written.

mod annotations;
mod ending;
mod frames;
mod hosted;
mod items;
mod named;
mod output;
mod read;
mod reader;
mod request;
mod stored;
mod tools;
mod usage;
mod write;
mod write_items;
mod writer;

pub(crate) use read::read_prompt;
pub(crate) use reader::Reader;
pub(crate) use request::{decode_request, decode_stored_request};
pub use stored::{ReportedResponse, read_response};
pub(crate) use stored::{StoredReader, read_final_usage};
pub(crate) use write::write_prompt;
pub(crate) use writer::Writer;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod round_trips;

//! OpenAI's Chat Completions wire format: requests, responses, streams and errors, read and written.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends a stream, so its size is paid once and not per chunk"
)]

mod adapt;
mod answer;
mod assemble;
mod chat_stream;
mod chunk;
mod continued;
mod convert;
mod embed;
mod encode;
mod face;
mod features;
mod limits;
mod listed;
mod messages;
mod objects;
pub mod operations;
mod own_batch;
mod pooled;
mod prompt;
mod prompt_writer;
mod reader;
mod request;
mod scanner;
mod shared_fields;
mod shared_media_fields;
mod supported_fields;
mod template;
mod texts;
mod usage;
mod writer;

pub use adapt::{adapt_body, adapt_written_body};
pub use answer::{answer_text, read_answer};
pub use assemble::normalise_completion;
pub use chat_stream::ChatStream;
pub use chunk::upstream_error;
pub use continued::CompletionsWriter;
pub use encode::encode_request;
pub use face::Chat;
pub use prompt::{read_continued, read_prompt, read_words};
pub use prompt_writer::write_prompt;
pub use reader::Reader;
pub use request::{
    Input, ModelField, ReadOwn, ReadRequest, RequestFields, decode_request, read_common, read_request,
};
pub use scanner::StreamScanner;
pub use supported_fields::SupportedFields;
pub use usage::estimate;
pub use writer::Writer;

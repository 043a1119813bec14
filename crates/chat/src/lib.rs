//! OpenAI's Chat Completions wire format: requests, responses, streams and errors, read and written.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends a stream, so its size is paid once and not per chunk"
)]

mod adapt;
mod answer;
mod assemble;
mod chunk;
mod continued;
mod convert;
mod embed;
mod encode;
mod face;
mod listed;
mod messages;
mod prompt;
mod reader;
mod request;
mod scanner;
pub mod side;
mod speech;
mod taste;
mod template;
mod texts;
mod usage;
mod writer;

pub use adapt::{adapt_body, suited};
pub use answer::{answer_text, read_answer};
pub use assemble::normalise_completion;
pub use chunk::upstream_error;
pub use continued::CompletionsWriter;
pub use encode::encode_request;
pub use face::Chat;
pub use prompt::{read_continued, read_prompt, read_words};
pub use reader::Reader;
pub use request::decode_request;
pub use scanner::StreamScanner;
pub use scanner::{begins_stream, skip_lead};
pub use speech::write_prompt;
pub use taste::SupportedFields;
pub use usage::estimate;
pub use writer::Writer;

//! The chat completions grammar: requests, answers, streams and errors, read and written.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends a stream, so its size is paid once and not per chunk"
)]

mod answer;
mod assemble;
mod chunk;
mod convert;
mod encode;
mod error;
mod generate;
mod likeness;
mod messages;
mod refusal;
mod request;
mod scanner;
mod splice;
mod usage;

pub use answer::{AnswerFacts, answer_text, read_answer};
pub use assemble::whole_answer;
pub use encode::{Completion, DONE, ModelRow, PING, encode_request, model_object, models_list};
pub(crate) use error::error_body;
pub use error::{class_of, error_event, read_error};
pub use generate::decode_messages;
pub use request::{ChatRequest, decode_request, upstream_body};
pub use scanner::{StreamFacts, StreamFault, StreamScanner};
pub use usage::estimate;

//! What lasts beyond one request and is content: the sealed keepers behind `domain::ports`.

mod answers;
mod packing;

pub use answers::{Answers, AnswersSettings};

//! The way of an answer, for tests of several dialects.

use dialects::AnswerPath;
use domain::{Grammar, TraceId};

pub fn answer_path(client: Grammar, upstream: Grammar, as_array: bool) -> AnswerPath {
    AnswerPath {
        as_array,
        ..AnswerPath::chat(client, upstream).with_labels("asked-for", TraceId::new(1, [7; 10]), 5)
    }
}

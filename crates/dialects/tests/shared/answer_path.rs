//! The way of an answer, for tests of several dialects.

use dialects::AnswerPath;
use domain::{Grammar, TraceId};

pub fn answer_path(client: Grammar, upstream: Grammar, as_array: bool) -> AnswerPath {
    AnswerPath {
        as_array,
        model: "asked-for".to_owned(),
        trace: TraceId::new(1, [7; 10]),
        created_unix_s: 5,
        ..AnswerPath::chat(client, upstream)
    }
}

//! The way of an answer, for tests of several dialects.

use conversation::answer::AnswerOptions;
use dialects::AnswerPath;
use domain::{Grammar, TraceId};

pub fn answer_path(client: Grammar, upstream: Grammar, as_array: bool) -> AnswerPath {
    AnswerPath {
        as_array,
        options: AnswerOptions {
            usage: true,
            model: "asked-for".to_owned(),
            trace: Some(TraceId::new(1, [7; 10])),
            created_unix_s: 5,
            ..AnswerOptions::default()
        },
        ..AnswerPath::chat(client, upstream)
    }
}

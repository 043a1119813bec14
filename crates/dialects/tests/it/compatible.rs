//! The exchanges in `golden/dialects/compatible`: answers of servers that deviate from Chat Completions, and
//! what clients of Chat Completions and Anthropic Messages get for each. `TIDEGATE_GOLDEN=write` rewrites
//! them.

use bytes::Bytes;
use dialects::{AnswerPath, AnswerStream, buffered_answer};
use domain::{Grammar, TraceId};
use serde_json::Value;

use crate::golden_exchanges::each_exchange;

fn answer_path(client: Grammar) -> AnswerPath {
    AnswerPath {
        needs_normalising: true,
        prompt_bytes: 8,
        ..AnswerPath::chat(client, Grammar::Chat).with_labels("m", TraceId::new(1, [0; 10]), 1)
    }
}

/// What a Chat Completions client gets: the same bytes, except for what its SDK could not read.
fn pass_through(upstream: &[Bytes]) -> String {
    let body = Bytes::from(upstream.concat());
    if body.starts_with(b"{") {
        let answer = buffered_answer(&answer_path(Grammar::Chat), body).expect("an answer");
        return String::from_utf8(answer.body.into()).expect("a text");
    }
    let mut stream = AnswerStream::new(answer_path(Grammar::Chat));
    let mut out = Vec::new();
    for chunk in upstream {
        stream.push(chunk.clone(), &mut out).expect("a stream");
    }
    stream.finish(&mut out).expect("its end");
    String::from_utf8(out.concat()).expect("a text")
}

/// What an Anthropic client gets.
fn translate(upstream: &[Bytes]) -> Value {
    let answer =
        buffered_answer(&answer_path(Grammar::Anthropic), upstream.concat().into()).expect("an answer");
    let message: Value = serde_json::from_slice(&answer.body).expect("a message");
    let kept = ["content", "stop_reason", "usage"];
    kept.into_iter().map(|name| (name.to_owned(), message[name].clone())).collect()
}

#[test]
fn every_liberty_is_read_and_what_sdks_trip_over_is_mended() {
    each_exchange("compatible", 15, |name, mut exchange: Value| {
        assert!(
            exchange["source"].as_str().is_some_and(|source| source.starts_with("constructed: ")),
            "{name}"
        );
        let upstream = serde_json::from_value::<Vec<String>>(exchange["upstream"].clone()).expect("texts");
        let upstream: Vec<Bytes> = upstream.into_iter().map(Bytes::from).collect();
        exchange["expected"] =
            serde_json::json!({"chat": pass_through(&upstream), "message": translate(&upstream)});
        Some(serde_json::to_string_pretty(&exchange).expect("JSON") + "\n")
    });
}

//! The exchanges in `golden/dialects/compatible`: answers of servers that deviate from Chat Completions, and
//! what clients of Chat Completions and Anthropic Messages get for each. `TIDEGATE_GOLDEN=write` rewrites
//! them.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use conversation::screening::{AnswerGuard, GuardAnswers};
use dialects::{AnswerPath, AnswerStream, buffered_answer};
use domain::{Event, Grammar, TraceId};
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
    let path = answer_path(Grammar::Anthropic);
    let answer = buffered_answer(&path, upstream.concat().into()).expect("an answer");
    let message: Value = serde_json::from_slice(&answer.body).expect("a message");
    let kept = ["content", "stop_reason", "usage"];
    kept.into_iter().map(|name| (name.to_owned(), message[name].clone())).collect()
}

#[test]
fn every_liberty_is_read_and_what_sdks_trip_over_is_mended() {
    each_exchange("compatible", 15, |name, mut exchange: Value| {
        let source = exchange["source"].as_str().expect("a source");
        assert!(source.starts_with("constructed: "), "{name}");
        let upstream = serde_json::from_value::<Vec<String>>(exchange["upstream"].clone()).expect("texts");
        let upstream: Vec<Bytes> = upstream.into_iter().map(Bytes::from).collect();
        exchange["expected"] =
            serde_json::json!({"chat": pass_through(&upstream), "message": translate(&upstream)});
        Some(serde_json::to_string_pretty(&exchange).expect("JSON") + "\n")
    });
}

/// A guard that counts texts, and drops them if it `enforces`.
#[derive(Debug, Clone)]
struct Texts {
    count: Rc<Cell<usize>>,
    enforces: bool,
}

impl GuardAnswers for Texts {
    fn guard(&self) -> Box<dyn AnswerGuard> {
        Box::new(self.clone())
    }

    fn only_counts(&self) -> bool {
        !self.enforces
    }

    fn clears(&self, body: &[u8]) -> bool {
        !body.windows(9).any(|text| text == b"\"content\"")
    }
}

impl AnswerGuard for Texts {
    fn apply(&mut self, events: &mut Vec<Event>) {
        let is_text = |event: &Event| matches!(event, Event::Delta { .. });
        self.count.set(self.count.get() + events.iter().filter(|event| is_text(event)).count());
        events.retain(|event| !(self.enforces && is_text(event)));
    }
}

#[test]
fn what_a_guard_only_counts_is_forwarded_as_it_is() {
    let body = r#"{"id":"x", "object":"chat.completion","created":1,"model":"m","later_field":[1],"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Hello."}}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
    for enforces in [false, true] {
        let count = Rc::new(Cell::new(0));
        let mut path = AnswerPath::chat(Grammar::Chat, Grammar::Chat);
        path.options.guard = Some(Rc::new(Texts { count: Rc::clone(&count), enforces }));
        let answer = buffered_answer(&path, Bytes::from(body)).expect("an answer");
        assert_eq!((count.get(), answer.body == body), (1, !enforces), "{:?}", answer.body);
        assert_eq!(answer.facts.usage.map(|usage| usage.output), Some(2));
        // Cleared: forwarded unread.
        let clear = body.replace("\"content\":\"Hello.\"", "\"refusal\":\"No.\"");
        let answer = buffered_answer(&path, Bytes::from(clear.clone())).expect("an answer");
        assert_eq!((count.get(), answer.body == clear), (1, true), "{:?}", answer.body);
    }
}

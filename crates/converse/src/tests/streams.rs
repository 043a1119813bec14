//! Streams and buffered responses, wherever they are split.

use conversation::answer::{ReadAnswer, StreamFault};
use domain::{Event, Grammar, PartKind};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CLIENTS, event, exception, push_stream, read};
use crate::Reader;

/// One block of a response, its text in pieces.
#[derive(Debug, Clone)]
enum Block {
    Text(Vec<String>),
    Thought(Vec<String>, Option<String>),
    Redacted(String),
    Call(String, Vec<String>),
    Image,
}

fn words() -> impl Strategy<Value = Vec<String>> {
    vec("[ -~é\n\u{1F600}]{1,9}", 1..4)
}

fn block() -> impl Strategy<Value = Block> {
    prop_oneof![
        4 => words().prop_map(Block::Text),
        2 => (words(), prop::option::of("[A-Za-z+/]{8}")).prop_map(|(text, seal)| Block::Thought(text, seal)),
        1 => "[A-Za-z+/]{8}".prop_map(Block::Redacted),
        2 => ("[a-z_]{1,8}", vec(0_u32..99, 0..4)).prop_map(|(name, numbers)| {
            // A JSON object in pieces of one character.
            let object: Value = numbers.iter().map(|number| (format!("n{number}"), json!(number))).collect();
            let text = object.to_string();
            let pieces = if text == "{}" { Vec::new() } else { text.chars().map(String::from).collect() };
            Block::Call(name, pieces)
        }),
        1 => Just(Block::Image),
    ]
}

fn stream(blocks: &[Block], stop: &str) -> Vec<u8> {
    let mut out = event("messageStart", r#"{"role":"assistant","p":"abc"}"#);
    for (index, block) in blocks.iter().enumerate() {
        let start = |start: Value| {
            event("contentBlockStart", &json!({"contentBlockIndex": index, "start": start}).to_string())
        };
        let delta = |delta: Value| {
            event(
                "contentBlockDelta",
                &json!({"contentBlockIndex": index, "delta": delta, "p": "ab"}).to_string(),
            )
        };
        match block {
            Block::Text(texts) => texts.iter().for_each(|text| out.extend(delta(json!({"text": text})))),
            Block::Thought(texts, seal) => {
                texts.iter().for_each(|text| out.extend(delta(json!({"reasoningContent": {"text": text}}))));
                let seals = seal.iter();
                seals.for_each(|seal| out.extend(delta(json!({"reasoningContent": {"signature": seal}}))));
            }
            Block::Redacted(seal) => {
                out.extend(delta(json!({"reasoningContent": {"redactedContent": seal}})))
            }
            Block::Call(name, pieces) => {
                out.extend(start(json!({"toolUse": {"toolUseId": format!("t{index}"), "name": name}})));
                pieces.iter().for_each(|piece| out.extend(delta(json!({"toolUse": {"input": piece}}))));
            }
            Block::Image => {
                out.extend(start(json!({"image": {"format": "png"}})));
                out.extend(delta(json!({"image": {"source": {"bytes": "AAAA"}}})));
            }
        }
        out.extend(event("contentBlockStop", &json!({"contentBlockIndex": index}).to_string()));
    }
    out.extend(event("messageStop", &json!({"stopReason": stop}).to_string()));
    out.extend(event("metadata", &json!({"usage": usage(), "metrics": {"latencyMs": 5}}).to_string()));
    out
}

fn usage() -> Value {
    json!({"inputTokens": 3, "outputTokens": 5, "totalTokens": 8, "cacheReadInputTokens": 2})
}

fn whole(blocks: &[Block], stop: &str) -> String {
    let content: Vec<Value> = blocks
        .iter()
        .enumerate()
        .map(|(index, block)| match block {
            Block::Text(texts) => json!({"text": texts.concat()}),
            Block::Thought(texts, seal) => {
                json!({"reasoningContent": {"reasoningText": {"text": texts.concat(), "signature": seal}}})
            }
            Block::Redacted(seal) => json!({"reasoningContent": {"redactedContent": seal}}),
            Block::Call(name, pieces) => {
                let input: Value = serde_json::from_str(&pieces.concat()).unwrap_or(json!({}));
                json!({"toolUse": {"toolUseId": format!("t{index}"), "name": name, "input": input}})
            }
            Block::Image => json!({"image": {"format": "png"}}),
        })
        .collect();
    let message = json!({"role": "assistant", "content": content});
    json!({"output": {"message": message}, "stopReason": stop, "usage": usage()}).to_string()
}

/// Joins consecutive deltas of a part, which may be split anywhere.
fn join_deltas(events: Vec<Event>) -> Vec<Event> {
    let mut out: Vec<Event> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (Some(Event::Delta { part, text, .. }), Event::Delta { part: same, text: more, .. })
                if *part == same =>
            {
                text.push_str(&more);
            }
            (_, event) => out.push(event),
        }
    }
    out
}

/// Each part starts once, has content only between its start and end, and none stays open.
fn check_order(events: &[Event]) {
    assert!(matches!(events.first(), Some(Event::Start { .. })) && events.last() == Some(&Event::Done));
    let (mut open, mut next): (Vec<(u32, bool)>, u32) = (Vec::new(), 0);
    for event in events {
        match event {
            Event::Begin { part, kind, .. } => {
                let is_call = matches!(kind, PartKind::Call { .. });
                assert_eq!(*part, next);
                assert!(open.iter().all(|(_, other)| is_call && *other), "only calls are open side by side");
                next += 1;
                open.push((*part, is_call));
            }
            Event::Delta { part, .. } | Event::Signature { part, .. } | Event::Citation { part, .. } => {
                assert!(open.iter().any(|(other, _)| other == part));
            }
            Event::End { part, .. } => open.retain(|(other, _)| other != part),
            Event::Finish { .. } | Event::Done => assert!(open.is_empty()),
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn a_stream_tells_what_a_whole_answer_does(
        blocks in vec(block(), 0..6),
        stop in prop::sample::select(&["end_turn", "tool_use", "max_tokens", "guardrail_intervened", "new"][..]),
    ) {
        let (events, end) = read(&stream(&blocks, stop));
        prop_assert_eq!(end, Ok(()));
        check_order(&events);
        let mut buffered = Vec::new();
        prop_assert_eq!(Reader::default().read_buffered(whole(&blocks, stop).as_bytes(), &mut buffered), Ok(()));
        prop_assert_eq!(join_deltas(events), join_deltas(buffered));
    }

    #[test]
    fn every_client_gets_the_same_wherever_a_stream_is_split(
        blocks in vec(block(), 0..5),
        size in 1_usize..60,
        cut in 0_usize..4000,
        client in prop::sample::select(&CLIENTS[..]),
    ) {
        let stream = stream(&blocks, "end_turn");
        let expected = push_stream(&stream, stream.len(), client);
        prop_assert_eq!(&expected.1, &Ok(()));
        prop_assert_eq!(push_stream(&stream, size, client), expected);
        // A stream that is cut before its end never counts as complete.
        let cut = &stream[..cut.min(stream.len())];
        let (out, end, facts) = push_stream(cut, cut.len(), client);
        prop_assert_eq!(end.is_ok(), facts.finished, "{:?}", end);
        prop_assert_eq!(push_stream(cut, size, client), (out, end, facts));
    }

    #[test]
    fn no_bytes_of_an_answer_break_the_reader(
        blocks in vec(block(), 0..4),
        at in 0_usize..2000,
        byte in any::<u8>(),
    ) {
        let mut body = whole(&blocks, "end_turn").into_bytes();
        let at = at % body.len();
        body[at] = byte;
        let mut events = Vec::new();
        if Reader::default().read_buffered(&body, &mut events).is_ok() {
            check_order(&events);
        }
    }
}

#[test]
fn a_failure_is_never_an_end() {
    let started = [event("messageStart", r#"{"role":"assistant"}"#), delta("Hi")].concat();
    let ended = [started.clone(), event("messageStop", r#"{"stopReason":"end_turn"}"#)].concat();
    let failed = exception("modelStreamErrorException", r#"{"message":"m","originalStatusCode":500}"#);
    for before in [Vec::new(), started.clone(), ended] {
        for client in CLIENTS {
            let (_, end, facts) = push_stream(&[before.clone(), failed.clone()].concat(), 11, client);
            assert!(matches!(end, Err(StreamFault::Upstream(..))), "{end:?}");
            assert!(!facts.done);
        }
    }
    let (out, end, facts) = push_stream(&started, 5, Grammar::Chat);
    assert_eq!(end, Err(StreamFault::Broken("ended_early")));
    assert!(facts.content_started && !facts.finished && !out.is_empty());
}

fn delta(text: &str) -> Vec<u8> {
    let payload = json!({"contentBlockIndex": 0, "delta": {"text": text}}).to_string();
    event("contentBlockDelta", &payload)
}

#[test]
fn what_is_no_stream_is_told() {
    for (body, word) in [
        (&b"<html>"[..], "html"),
        (b"data: {}\n\n", "not_a_stream"),
        (b"", "empty"),
        (&[2, 0, 0, 0], "not_a_stream"),
        (&[0, 0, 0, 16, 0, 0, 0, 0, 1, 2, 3, 4], "bad_checksum"),
    ] {
        assert_eq!(push_stream(body, 3, Grammar::Anthropic).1, Err(StreamFault::Broken(word)), "{body:?}");
    }
    // Nothing after the end matters, even if it is not a frame.
    let mut stream = stream(&[Block::Text(vec!["a".to_owned()])], "end_turn");
    stream.extend_from_slice(b"no frame at all");
    assert_eq!(push_stream(&stream, stream.len(), Grammar::Responses).1, Ok(()));
}

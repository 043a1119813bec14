//! The exchanges in `golden/dialects/gemini`: an upstream's bytes, with the events read from them and what
//! clients get; and clients' requests, with their translations.

use bytes::Bytes;
use conversation::answer::{ReadAnswer, StreamFault, WriteAnswer};
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use dialects::{AnswerStream, buffered_answer};
use domain::{Abilities, Grammar};
use serde::Deserialize;

use super::golden_exchanges::each_exchange;
use super::render::{describe_fault, render_events};
use super::{addressed, answer_path, documents, read, wish};
use crate::{Reader, Writer, write_prompt};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum Exchange {
    Stream {
        source: String,
        /// The client disconnects after these bytes, so it does not matter whether the stream ended well.
        #[serde(default)]
        cancelled: bool,
        upstream: Vec<String>,
        expected: Streamed,
    },
    Answer {
        source: String,
        upstream: String,
        expected: Answered,
    },
    Request {
        source: String,
        client: String,
        expected: Requested,
    },
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Streamed {
    events: Vec<String>,
    /// The same events, written again for a Gemini client.
    client: Vec<String>,
    fault: Option<String>,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Answered {
    events: Vec<String>,
    fault: Option<String>,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Requested {
    upstream: String,
    /// Fields that the canonical form cannot represent; with `!` where they change the response.
    extras: Vec<String>,
}

#[test]
fn every_exchange_is_what_it_says() {
    each_exchange("gemini", 26, |name, exchange| {
        check(name, exchange);
        None
    });
}

fn check(name: &str, exchange: Exchange) {
    let is_sourced = |source: &str| source.starts_with("constructed: ") || source.starts_with("recorded: ");
    match exchange {
        Exchange::Stream { source, cancelled, upstream, expected } => {
            assert!(is_sourced(&source), "{name}");
            assert_eq!(replay_stream(&upstream.concat(), cancelled), expected, "{name}");
            check_passthrough(name, &upstream.concat(), cancelled, &expected);
            if !cancelled {
                check_translation(name, &upstream.concat(), &expected);
            }
        }
        Exchange::Answer { source, upstream, expected } => {
            assert!(is_sourced(&source), "{name}");
            let mut events = Vec::new();
            let end = Reader::default().read_buffered(upstream.as_bytes(), &mut events);
            let answered = Answered {
                events: render_events(&events),
                fault: end.err().map(|fault| describe_fault(&fault)),
            };
            assert_eq!(answered, expected, "{name}");
            // A Gemini client gets the upstream's response unchanged.
            let passed = buffered_answer(
                &answer_path(Grammar::Gemini, Grammar::Gemini, false),
                Bytes::from(upstream.clone()),
            );
            assert_eq!(passed.as_ref().err().map(describe_fault), expected.fault, "{name}");
            assert!(passed.is_err() || passed.is_ok_and(|answer| answer.body == upstream), "{name}");
        }
        Exchange::Request { source, client, expected } => {
            assert!(is_sourced(&source), "{name}");
            let prompt = read(&client);
            let mut losses = DroppedFields::new(Grammar::Gemini, Grammar::Gemini, dialects::feature_names);
            let target = TargetModel { model: &addressed().model, abilities: Abilities::default() };
            let body = write_prompt(&prompt, &target, &mut losses).expect(name);
            assert_eq!(losses.finish(false).expect(name), Vec::<String>::new(), "{name}");
            let mark = |is_meaning| if is_meaning { "!" } else { "" };
            let requested = Requested {
                upstream: String::from_utf8(body).expect("UTF-8"),
                extras: prompt
                    .extras
                    .iter()
                    .map(|extra| format!("{}{}", extra.name, mark(extra.affects_answer)))
                    .collect(),
            };
            assert_eq!(requested, expected, "{name}");
        }
    }
}

/// The events that the reader emits for a stream, and what the writer makes of them.
fn replay_stream(upstream: &str, cancelled: bool) -> Streamed {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    let is_document = upstream.starts_with(['{', '[']);
    let read = if is_document {
        reader.read_buffered(upstream.as_bytes(), &mut events)
    } else {
        let frames = upstream.split("\r\n\r\n").filter(|frame| !frame.is_empty());
        frames
            .map(|frame| frame.strip_prefix("data:").expect("a frame of data").trim_start())
            .try_for_each(|data| reader.event(b"", data.as_bytes(), &mut events))
            .and_then(|()| if cancelled { Ok(()) } else { reader.end(&mut events) })
    };
    let rendered = render_events(&events);
    let mut writer = Writer::new(wish());
    let mut client = Vec::new();
    for event in events {
        let mut frames = Vec::new();
        writer.event(event, &mut frames);
        if !frames.is_empty() {
            client.push(String::from_utf8(frames).expect("UTF-8"));
        }
    }
    // A stream that is cut inside an event is reported like one cut between two.
    let fault = read.err().map(|fault| describe_fault(&fault).replace("cut_json", "ended_early"));
    Streamed { events: rendered, client, fault }
}

/// Pushes the stream through `AnswerStream`, as the gateway does, whole and in small pieces: the upstream's
/// own bytes pass unchanged, and a response that is not a stream becomes one.
fn check_passthrough(name: &str, upstream: &str, cancelled: bool, expected: &Streamed) {
    for size in [1, 7, upstream.len()] {
        let mut answer = AnswerStream::new(answer_path(Grammar::Gemini, Grammar::Gemini, false));
        let mut out = Vec::new();
        let mut end = upstream
            .as_bytes()
            .chunks(size)
            .try_for_each(|chunk| answer.push(Bytes::copy_from_slice(chunk), &mut out));
        if !cancelled {
            end = end.and_then(|()| answer.finish(&mut out));
        }
        assert_eq!(end.as_ref().err().map(describe_fault), expected.fault, "{name}");
        if end.is_ok() {
            let is_document = upstream.starts_with(['{', '[']);
            let sent = if is_document { expected.client.concat() } else { upstream.to_owned() };
            assert_eq!(String::from_utf8_lossy(&out.concat()), sent, "{name}");
        }
    }
}

/// Clients of other dialects get a response that their own readers accept, or the same fault.
fn check_translation(name: &str, upstream: &str, expected: &Streamed) {
    for client in [Grammar::Anthropic, Grammar::Responses] {
        let mut answer = AnswerStream::new(answer_path(client, Grammar::Gemini, false));
        let mut out = Vec::new();
        let end = answer
            .push(Bytes::copy_from_slice(upstream.as_bytes()), &mut out)
            .and_then(|()| answer.finish(&mut out));
        // A call that nobody can read is an answer to Gemini's clients alone.
        if let Err(StreamFault::UnreadableCall(word, _)) = &end {
            let end = format!("finish 0 MalformedCall {}", word.as_deref().unwrap_or("-"));
            assert!(expected.events.iter().any(|event| event.starts_with(&end)), "{name} for {client:?}");
            continue;
        }
        assert_eq!(end.as_ref().err().map(describe_fault), expected.fault, "{name} for {client:?}");
        if end.is_ok() {
            let mut again = AnswerStream::new(answer_path(Grammar::Gemini, client, false));
            let mut back = Vec::new();
            let end = again.push(Bytes::from(out.concat()), &mut back).and_then(|()| again.finish(&mut back));
            assert_eq!(end, Ok(()), "{name} from {client:?}");
            assert!(!documents(&back.concat()).is_empty(), "{name} from {client:?}");
        }
    }
}

//! The exchanges in `golden/dialects/converse`: an upstream's frames or buffered response, with the events
//! read from them and what a Chat Completions client gets; and clients' requests, with their translations.
//! `TIDEGATE_GOLDEN=write` rewrites them.

use bytes::Bytes;
use conversation::answer::ReadAnswer;
use conversation::request::Addressed;
use conversation::target::TargetModel;
use dialects::{buffered_answer, decode_request, read_prompt, translate_request};
use domain::{Abilities, Dialect, Grammar, Operation, Thinking};
use framing::event_stream::encode_frame;
use serde::{Deserialize, Serialize};

use super::answer_path::answer_path;
use super::golden_exchanges::each_exchange;
use super::render::{describe_fault, render_events};
use super::{CLIENTS, event, exception, push_stream, read};
use crate::Reader;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum Exchange {
    Stream {
        source: String,
        /// Each frame's sort, name and payload. A `cut` frame is truncated halfway; a `bent` frame has a
        /// wrong checksum.
        upstream: Vec<(Sort, String, String)>,
        expected: Outcome,
    },
    Answer {
        source: String,
        upstream: String,
        expected: Outcome,
    },
    Request {
        source: String,
        client: String,
        model: String,
        abilities: Able,
        body: String,
        expected: Requested,
    },
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Sort {
    Event,
    Exception,
    Error,
    Cut,
    Bent,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Outcome {
    events: Vec<String>,
    chat: Vec<String>,
    fault: Option<String>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Requested {
    upstream: Option<String>,
    dropped: Vec<String>,
    /// The fault's code and field.
    fault: Option<(String, String)>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Able {
    Unknown,
    /// No reasoning.
    Plain,
    /// Reasons by a token budget, and supports cache breakpoints.
    Budget,
    /// Reasons by an effort, and supports cache breakpoints.
    Effort,
}

#[test]
fn every_exchange_is_what_it_says() {
    each_exchange("converse", 36, |name, exchange: Exchange| {
        Some(serde_json::to_string_pretty(&replay(name, &exchange)).expect("JSON") + "\n")
    });
}

/// The exchange with the actual results in place of the expected ones.
fn replay(name: &str, exchange: &Exchange) -> Exchange {
    let (Exchange::Stream { source, .. }
    | Exchange::Answer { source, .. }
    | Exchange::Request { source, .. }) = exchange;
    let is_sourced = source.starts_with("constructed: ") || source.starts_with("recorded: ");
    assert!(is_sourced, "{name}");
    let source = source.clone();
    match exchange {
        Exchange::Stream { upstream, .. } => {
            let stream: Vec<u8> = upstream.iter().flat_map(frame).collect();
            let expected = replay_stream(name, &stream);
            Exchange::Stream { source, upstream: upstream.clone(), expected }
        }
        Exchange::Answer { upstream, .. } => {
            let expected = replay_answer(name, upstream);
            Exchange::Answer { source, upstream: upstream.clone(), expected }
        }
        Exchange::Request { client, model, abilities, body, .. } => Exchange::Request {
            source,
            client: client.clone(),
            model: model.clone(),
            abilities: *abilities,
            body: body.clone(),
            expected: replay_request(client, model, *abilities, body),
        },
    }
}

fn frame((sort, name, payload): &(Sort, String, String)) -> Vec<u8> {
    match sort {
        Sort::Event => event(name, payload),
        Sort::Exception => exception(name, payload),
        Sort::Error => {
            let headers = [(":message-type", "error"), (":error-code", name), (":error-message", payload)];
            encode_frame(&headers, b"").expect("it fits")
        }
        Sort::Cut => {
            let mut frame = event(name, payload);
            frame.truncate(frame.len() / 2);
            frame
        }
        Sort::Bent => {
            let mut frame = event(name, payload);
            *frame.last_mut().expect("a checksum") ^= 1;
            frame
        }
    }
}

/// Pushes the stream through `AnswerStream`, as the gateway does, however it is split; every client gets the
/// same fault.
fn replay_stream(name: &str, stream: &[u8]) -> Outcome {
    let (events, _) = read(stream);
    let (chat, end, facts) = push_stream(stream, stream.len(), Grammar::Chat);
    for client in CLIENTS {
        let whole = push_stream(stream, stream.len(), client);
        for size in [1, 7] {
            assert_eq!(push_stream(stream, size, client), whole, "{name} for {client:?} by {size}");
        }
        assert_eq!((&whole.1, &whole.2), (&end, &facts), "{name} for {client:?}");
        let buffered =
            buffered_answer(&answer_path(client, Grammar::Converse, false), Bytes::copy_from_slice(stream));
        assert_eq!(buffered.is_ok(), end.is_ok(), "{name} for {client:?}");
    }
    let chat = String::from_utf8(chat).expect("UTF-8");
    Outcome {
        events: render_events(&events),
        chat: chat.split_inclusive("\n\n").map(str::to_owned).collect(),
        fault: end.err().map(|fault| describe_fault(&fault)),
    }
}

fn replay_answer(name: &str, upstream: &str) -> Outcome {
    let mut events = Vec::new();
    let end = Reader::default().read_buffered(upstream.as_bytes(), &mut events);
    let mut chat = Vec::new();
    for client in CLIENTS {
        let answer = buffered_answer(
            &answer_path(client, Grammar::Converse, false),
            Bytes::copy_from_slice(upstream.as_bytes()),
        );
        assert_eq!(answer.as_ref().err(), end.as_ref().err(), "{name} for {client:?}");
        // A buffered response sent in place of a stream is read as one.
        assert_eq!(push_stream(upstream.as_bytes(), 9, client).1, end, "{name} for {client:?}");
        if let Ok(answer) = answer
            && client == Grammar::Chat
        {
            chat.push(String::from_utf8(answer.body.to_vec()).expect("UTF-8"));
        }
    }
    Outcome { events: render_events(&events), chat, fault: end.err().map(|fault| describe_fault(&fault)) }
}

fn replay_request(client: &str, model: &str, able: Able, body: &str) -> Requested {
    let client = CLIENTS.into_iter().find(|grammar| grammar.as_str() == client).expect("a client's grammar");
    let abilities = match able {
        Able::Unknown => Abilities::default(),
        Able::Plain => Abilities { thinking: Thinking::Never, ..Abilities::default() },
        Able::Budget => Abilities { thinking: Thinking::Budget, cache_marks: true, ..Abilities::default() },
        Able::Effort => Abilities { thinking: Thinking::Effort, cache_marks: true, ..Abilities::default() },
    };
    let addressed = Addressed { model: "m".to_owned(), ..Addressed::default() };
    let addressed = (client == Dialect::Gemini.grammar()).then_some(&addressed);
    let body = Bytes::copy_from_slice(body.as_bytes());
    let result = decode_request(client, Operation::Chat, &body, addressed)
        .and_then(|request| read_prompt(client, &body, &request))
        .and_then(|prompt| {
            translate_request(client, &prompt, Grammar::Converse, &TargetModel { model, abilities }, false)
        });
    match result {
        Ok(translated) => Requested {
            upstream: Some(String::from_utf8(translated.body.to_vec()).expect("UTF-8")),
            dropped: translated.dropped,
            fault: None,
        },
        Err(fault) => Requested {
            upstream: None,
            dropped: Vec::new(),
            fault: Some((fault.code.to_owned(), fault.param.unwrap_or_default().into_string())),
        },
    }
}

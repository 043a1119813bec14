//! The exchanges in `golden/dialects/responses`: each has an upstream's or a client's bytes, and the expected
//! result. Other dialects have their own; here both sides speak Responses.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::request::upstream_body;
use dialects::{AnswerPath, AnswerStream, BufferedAnswer, buffered_answer, decode_request};
use domain::{Grammar, Operation, TraceId, Usage};
use serde::Deserialize;
use serde_json::Value;

use crate::golden_exchanges::each_exchange;

/// The kind tells which of the fields there are.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Exchange {
    kind: String,
    source: String,
    /// The client disconnects after these bytes, so the stream's end is not checked.
    cancelled: bool,
    /// A text, or the chunks of one.
    upstream: Value,
    client: String,
    upstream_model: String,
    expected: Expected,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Expected {
    /// What is forwarded to the client; the upstream's own bytes where it is omitted.
    client: Option<String>,
    usage: Option<Counts>,
    content_bytes: u64,
    upstream: Option<String>,
    stream: bool,
    prompt_bytes: u64,
    max_output_tokens: Option<u64>,
    end_user: Option<String>,
    fault: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
struct Counts {
    input: u64,
    cached_read: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
}

impl From<Usage> for Counts {
    fn from(usage: Usage) -> Self {
        let Usage { input, cached_read, cache_write, output, reasoning, .. } = usage;
        Self { input, cached_read, cache_write, output, reasoning }
    }
}

fn answer_path() -> AnswerPath {
    AnswerPath::chat(Grammar::Responses, Grammar::Responses).with_labels(
        "asked",
        TraceId::new(1_700_000_000_000, [7; 10]),
        1_700_000_000,
    )
}

fn word(fault: StreamFault) -> String {
    match fault.report() {
        Err(word) => word.to_owned(),
        Ok((report, class)) => {
            format!("{}: {}", class.as_str(), report.message.unwrap_or_default())
        }
    }
}

#[test]
fn every_exchange_is_what_it_says() {
    each_exchange("responses", 14, |name, exchange: Exchange| {
        let source = &exchange.source;
        assert!(source.starts_with("constructed: ") || source.starts_with("recorded: "), "{name}");
        check(name, &exchange);
        None
    });
}

fn check(name: &str, exchange: &Exchange) {
    let expected = &exchange.expected;
    let chunk = |text: &Value| text.as_str().expect("a text").to_owned();
    match &*exchange.kind {
        "stream" => {
            let chunks = exchange.upstream.as_array().expect("chunks");
            let upstream: Vec<String> = chunks.iter().map(chunk).collect();
            // In the recorded chunks, and again byte by byte.
            check_stream(name, exchange, &upstream.iter().map(String::as_bytes).collect::<Vec<_>>());
            check_stream(name, exchange, &upstream.concat().as_bytes().chunks(1).collect::<Vec<_>>());
        }
        "answer" => {
            let body = Bytes::from(chunk(&exchange.upstream));
            match buffered_answer(&answer_path(), body.clone()) {
                Ok(BufferedAnswer { body: sent, facts, .. }) => {
                    assert_eq!(expected.fault, None, "{name}");
                    assert_eq!(sent, body, "{name}");
                    assert_eq!(facts.usage.map(Counts::from), expected.usage, "{name}");
                    assert_eq!(facts.content_bytes, expected.content_bytes, "{name}");
                }
                Err(fault) => assert_eq!(Some(word(fault)), expected.fault, "{name}"),
            }
        }
        "request" => {
            check_request(name, &Bytes::from(exchange.client.clone()), &exchange.upstream_model, expected);
        }
        kind => panic!("{name} is {kind}"),
    }
}

fn check_request(name: &str, body: &Bytes, upstream_model: &str, expected: &Expected) {
    match decode_request(Grammar::Responses, Operation::Chat, body, None) {
        Ok(request) => {
            assert_eq!(expected.fault, None, "{name}");
            assert_eq!(request.stream, expected.stream, "{name}");
            assert_eq!(request.prompt_bytes, expected.prompt_bytes, "{name}");
            assert_eq!(request.max_output_tokens, expected.max_output_tokens, "{name}");
            assert_eq!(request.end_user(body), expected.end_user, "{name}");
            let sent = upstream_body(body, &request, upstream_model, true).concat();
            assert_eq!(Some(String::from_utf8_lossy(&sent).into_owned()), expected.upstream, "{name}");
        }
        Err(fault) => assert_eq!(Some(fault.to_string()), expected.fault, "{name}"),
    }
}

fn check_stream(name: &str, exchange: &Exchange, chunks: &[&[u8]]) {
    let (cancelled, expected) = (exchange.cancelled, &exchange.expected);
    let mut stream = AnswerStream::new(answer_path());
    let mut out = Vec::new();
    let mut fault =
        chunks.iter().find_map(|chunk| stream.push(Bytes::copy_from_slice(chunk), &mut out).err());
    if fault.is_none() && !cancelled {
        fault = stream.finish(&mut out).err();
    }
    assert_eq!(fault.map(word), expected.fault, "{name}");
    let client =
        expected.client.clone().unwrap_or_else(|| String::from_utf8_lossy(&chunks.concat()).into_owned());
    assert_eq!(String::from_utf8_lossy(&out.concat()), client, "{name}");
    let facts = stream.facts();
    assert_eq!(facts.usage.map(Counts::from), expected.usage, "{name}");
    assert_eq!(facts.content_bytes, expected.content_bytes, "{name}");
    assert_eq!(facts.done, expected.fault.is_none() && !cancelled, "{name}");
}

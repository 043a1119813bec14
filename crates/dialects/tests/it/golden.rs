//! The exchanges in `golden/dialects/chat`: each has an upstream's or a client's bytes, and the expected
//! result.

use bytes::Bytes;
use chat::{StreamScanner, answer_text, decode_request, read_answer};
use conversation::answer::StreamFault;
use conversation::request::{Request, upstream_body};
use domain::{Fault, Usage, UsageSource};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::golden_exchanges::each_exchange;

/// What a client and an upstream of the same dialect say. The kind tells which of the fields there are.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Exchange {
    pub kind: String,
    source: String,
    hide_usage: bool,
    /// The client disconnects after these bytes, so the stream's end is not checked.
    pub cancelled: bool,
    /// A text, or the chunks of one.
    pub upstream: Value,
    pub client: String,
    pub upstream_model: String,
    pub expected: Expected,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Expected {
    /// A text, or the chunks of one.
    pub client: Value,
    pub upstream: Option<String>,
    pub usage: Value,
    pub content_bytes: Option<u64>,
    text: Option<String>,
    pub dropped: Option<Vec<String>>,
    pub fault: Value,
}

/// Checks the exchanges of a folder, of which there are at least `least`.
pub fn each(folder: &str, least: usize, mut check: impl FnMut(&str, Exchange)) {
    each_exchange(folder, least, |name, exchange: Exchange| {
        let source = &exchange.source;
        assert!(source.starts_with("constructed: ") || source.starts_with("recorded: "), "{name}");
        check(name, exchange);
        None
    });
}

pub fn chunks(text: &Value) -> Vec<Bytes> {
    let one = |text: &Value| Bytes::from(text.as_str().expect("a text").to_owned());
    text.as_array().map_or_else(|| vec![one(text)], |chunks| chunks.iter().map(one).collect())
}

pub fn whole(text: &Value) -> Bytes {
    chunks(text).concat().into()
}

pub fn usage_of(counts: &Value) -> Option<Usage> {
    let mut usage = Usage { source: UsageSource::Provider, ..Usage::default() };
    for (name, count) in counts.as_object()? {
        let field = match name.as_str() {
            "input" => &mut usage.input,
            "cached_read" => &mut usage.cached_read,
            "cache_write" => &mut usage.cache_write,
            "cache_write_long" => &mut usage.cache_write_long,
            "output" => &mut usage.output,
            "reasoning" => &mut usage.reasoning,
            other => panic!("{other} is no count"),
        };
        *field = count.as_u64().expect("a count");
    }
    Some(usage)
}

/// A fault of the bytes, or the class and the message of the upstream's own.
pub fn fault_of(fault: Option<StreamFault>) -> Value {
    match fault.map(StreamFault::report) {
        None => Value::Null,
        Some(Err(word)) => json!({"broken": word}),
        Some(Ok((report, class))) => json!({"upstream": class.as_str(), "message": report.message}),
    }
}

/// Checks what an upstream of the same dialect is sent.
pub fn check_sent(name: &str, exchange: Exchange, decode: fn(&Bytes) -> Result<Request, Box<Fault>>) {
    let body = Bytes::from(exchange.client);
    let request = decode(&body).expect(name);
    let sent = upstream_body(&body, &request, &exchange.upstream_model, true).concat();
    assert_eq!(Some(&*String::from_utf8_lossy(&sent)), exchange.expected.upstream.as_deref(), "{name}");
}

#[test]
fn every_exchange_is_what_it_says() {
    each("chat", 31, check);
}

fn check(name: &str, exchange: Exchange) {
    let body = || whole(&exchange.upstream);
    match &*exchange.kind {
        "stream" => {
            // In the recorded chunks, and again byte by byte.
            check_stream(name, &exchange, chunks(&exchange.upstream));
            check_stream(name, &exchange, body().chunks(1).map(Bytes::copy_from_slice));
        }
        "answer" => {
            let (read, expected) = (read_answer(&body()), &exchange.expected);
            assert_eq!(fault_of(read.as_ref().err().cloned()), expected.fault, "{name}");
            if let Ok(facts) = read {
                assert_eq!(facts.usage, usage_of(&expected.usage), "{name}");
                // Compared only where no usage was reported.
                let counted = facts.usage.is_none().then_some(facts.content_bytes);
                assert_eq!(counted, expected.content_bytes, "{name}");
                assert_eq!(answer_text(&body()), expected.text, "{name}");
            }
        }
        "request" => check_sent(name, exchange, decode_request),
        kind => panic!("{name} is {kind}"),
    }
}

fn check_stream(name: &str, exchange: &Exchange, chunks: impl IntoIterator<Item = Bytes>) {
    let mut scanner = StreamScanner::new(exchange.hide_usage);
    let mut out = Vec::new();
    let mut end = chunks.into_iter().try_for_each(|chunk| scanner.push(chunk, &mut out));
    if !exchange.cancelled {
        end = end.and_then(|()| scanner.finish(&mut out));
    }
    let (facts, expected) = (scanner.facts(), &exchange.expected);
    assert_eq!(Bytes::from(out.concat()), whole(&expected.client), "{name}");
    assert_eq!(fault_of(end.err()), expected.fault, "{name}");
    assert_eq!(facts.usage, usage_of(&expected.usage), "{name}");
    assert_eq!(Some(facts.content_bytes), expected.content_bytes, "{name}");
}

//! The exchanges in `golden/dialects/chat`: each has an upstream's or a client's bytes, and the expected
//! result.

use bytes::Bytes;
use chat::{StreamScanner, answer_text, decode_request, read_answer};
use conversation::answer::StreamFault;
use conversation::request::upstream_body;
use domain::{Usage, UsageSource};
use serde::Deserialize;

use crate::golden_exchanges::each_exchange;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum Exchange {
    Stream {
        source: String,
        hide_usage: bool,
        /// The client disconnects after these bytes, so the stream's end is not checked.
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
        upstream_model: String,
        expected: Requested,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Streamed {
    client: Vec<String>,
    usage: Option<Counts>,
    content_bytes: u64,
    fault: Option<Failed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    usage: Option<Counts>,
    content_bytes: Option<u64>,
    text: Option<String>,
    fault: Option<Failed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requested {
    upstream: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct Counts {
    input: u64,
    cached_read: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Failed {
    broken: Option<String>,
    /// The fault class.
    upstream: Option<String>,
    message: Option<String>,
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        let Counts { input, cached_read, cache_write, output, reasoning } = counts;
        Self {
            input,
            cached_read,
            cache_write,
            cache_write_long: 0,
            output,
            reasoning,
            source: UsageSource::Provider,
            ..Usage::default()
        }
    }
}

impl From<StreamFault> for Failed {
    fn from(fault: StreamFault) -> Self {
        match fault.report() {
            Err(word) => Self { broken: Some(word.to_owned()), upstream: None, message: None },
            Ok((report, class)) => {
                Self { broken: None, upstream: Some(class.as_str().to_owned()), message: report.message }
            }
        }
    }
}

#[test]
fn every_exchange_is_what_it_says() {
    each_exchange("chat", 31, |name, exchange| {
        check(name, exchange);
        None
    });
}

fn check(name: &str, exchange: Exchange) {
    match exchange {
        Exchange::Stream { source, hide_usage, cancelled, upstream, expected } => {
            assert!(source.starts_with("constructed: ") || source.starts_with("recorded: "), "{name}");
            // In the recorded chunks, and again byte by byte.
            check_stream(
                name,
                hide_usage,
                cancelled,
                upstream.iter().map(|chunk| Bytes::from(chunk.clone())),
                &expected,
            );
            let bytes = upstream.concat().into_bytes();
            check_stream(name, hide_usage, cancelled, bytes.chunks(1).map(Bytes::copy_from_slice), &expected);
        }
        Exchange::Answer { source, upstream, expected } => {
            assert!(source.starts_with("constructed: ") || source.starts_with("recorded: "), "{name}");
            let body = Bytes::from(upstream);
            let read = read_answer(&body);
            assert_eq!(read.as_ref().err().cloned().map(Failed::from), expected.fault, "{name}");
            if let Ok(facts) = read {
                assert_eq!(facts.usage, expected.usage.map(Usage::from), "{name}");
                // Compared only where no usage was reported.
                let counted = facts.usage.is_none().then_some(facts.content_bytes);
                assert_eq!(counted, expected.content_bytes, "{name}");
                assert_eq!(answer_text(&body), expected.text, "{name}");
            }
        }
        Exchange::Request { source, client, upstream_model, expected } => {
            assert!(source.starts_with("constructed: ") || source.starts_with("recorded: "), "{name}");
            let body = Bytes::from(client);
            let request = decode_request(&body).expect(name);
            let sent = upstream_body(&body, &request, &upstream_model, true).concat();
            assert_eq!(String::from_utf8_lossy(&sent), expected.upstream, "{name}");
        }
    }
}

fn check_stream(
    name: &str,
    hide_usage: bool,
    cancelled: bool,
    chunks: impl Iterator<Item = Bytes>,
    expected: &Streamed,
) {
    let mut scanner = StreamScanner::new(hide_usage);
    let mut out = Vec::new();
    let mut end = Ok(());
    for chunk in chunks {
        end = end.and_then(|()| scanner.push(chunk, &mut out));
    }
    if !cancelled {
        end = end.and_then(|()| scanner.finish(&mut out));
    }
    assert_eq!(String::from_utf8_lossy(&out.concat()), expected.client.concat(), "{name}");
    assert_eq!(end.err().map(Failed::from).as_ref(), expected.fault.as_ref(), "{name}");
    let facts = scanner.facts();
    assert_eq!(facts.usage, expected.usage.map(Usage::from), "{name}");
    assert_eq!(facts.content_bytes, expected.content_bytes, "{name}");
}

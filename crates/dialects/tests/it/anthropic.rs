//! The exchanges in `golden/dialects/anthropic`: each has an upstream's or a client's bytes, and the expected
//! result.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::request::{Request, upstream_body};
use conversation::target::{TargetModel, TranslatedRequest};
use dialects::{AnswerPath, AnswerStream, buffered_answer, decode_request, read_prompt, translate_request};
use domain::{Abilities, Fault, Grammar, Operation, Tier, Usage, UsageSource};
use proptest::prelude::*;
use serde::Deserialize;

use crate::golden_exchanges::each_exchange;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum Exchange {
    Stream {
        source: String,
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
    /// For an upstream of the same dialect.
    Request {
        source: String,
        client: String,
        upstream_model: String,
        expected: Requested,
    },
    /// Read and written again.
    Prompt {
        source: String,
        client: String,
        upstream_model: String,
        expected: Prompted,
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
    client: Option<String>,
    usage: Option<Counts>,
    fault: Option<Failed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requested {
    upstream: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prompted {
    upstream: Option<String>,
    dropped: Option<Vec<String>>,
    fault: Option<Refused>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct Counts {
    input: u64,
    cached_read: u64,
    cache_write: u64,
    cache_write_long: u64,
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

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Refused {
    code: String,
    param: String,
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        let Counts { input, cached_read, cache_write, cache_write_long, output, reasoning } = counts;
        let source = UsageSource::Provider;
        Self {
            input,
            cached_read,
            cache_write,
            cache_write_long,
            output,
            reasoning,
            source,
            ..Self::default()
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

fn answer_path() -> AnswerPath {
    AnswerPath::chat(Grammar::Anthropic, Grammar::Anthropic).with_labels(
        "my/claude",
        "trc_0190c0ffee007000800000000000abcd".parse().expect("a trace id"),
        0,
    )
}

fn decoded(body: &Bytes) -> Result<Request, Box<Fault>> {
    decode_request(Grammar::Anthropic, Operation::Chat, body, None)
}

/// Reads a request and writes it again for an upstream of the same dialect.
fn retranslate(body: &Bytes, model: &str) -> Result<TranslatedRequest, Box<Fault>> {
    let prompt = read_prompt(Grammar::Anthropic, body, &decoded(body)?)?;
    let target = TargetModel { model, abilities: Abilities::default() };
    translate_request(Grammar::Anthropic, &prompt, Grammar::Anthropic, &target, false)
}

#[test]
fn every_exchange_is_what_it_says() {
    each_exchange("anthropic", 26, |name, exchange| {
        check(name, exchange);
        None
    });
}

fn check(name: &str, exchange: Exchange) {
    let source = match exchange {
        Exchange::Stream { source, cancelled, upstream, expected } => {
            // In the recorded chunks, and again byte by byte.
            let sent: Vec<Bytes> = upstream.iter().map(|chunk| Bytes::from(chunk.clone())).collect();
            check_stream(name, cancelled, &sent, &expected);
            let bytes = upstream.concat().into_bytes();
            let single: Vec<Bytes> = bytes.chunks(1).map(Bytes::copy_from_slice).collect();
            check_stream(name, cancelled, &single, &expected);
            source
        }
        Exchange::Answer { source, upstream, expected } => {
            let answered = buffered_answer(&answer_path(), Bytes::from(upstream));
            assert_eq!(answered.as_ref().err().cloned().map(Failed::from), expected.fault, "{name}");
            if let Ok(whole) = answered {
                assert_eq!(
                    Some(String::from_utf8_lossy(&whole.body).as_ref()),
                    expected.client.as_deref(),
                    "{name}"
                );
                check_usage(name, whole.facts.usage, expected.usage);
            }
            source
        }
        Exchange::Request { source, client, upstream_model, expected } => {
            let body = Bytes::from(client);
            let request = decoded(&body).expect(name);
            let sent = upstream_body(&body, &request, &upstream_model, true).concat();
            assert_eq!(String::from_utf8_lossy(&sent), expected.upstream, "{name}");
            source
        }
        Exchange::Prompt { source, client, upstream_model, expected } => {
            check_prompt(name, client, &upstream_model, &expected);
            source
        }
    };
    assert!(source.starts_with("constructed: ") || source.starts_with("recorded: "), "{name}");
}

fn check_prompt(name: &str, client: String, model: &str, expected: &Prompted) {
    let body = Bytes::from(client);
    match retranslate(&body, model) {
        Ok(translated) => {
            let text = String::from_utf8_lossy(&translated.body);
            assert_eq!(Some(text.as_ref()), expected.upstream.as_deref(), "{name}");
            assert_eq!(Some(&translated.dropped), expected.dropped.as_ref(), "{name}");
            // Written once more it is the same: the translation is idempotent.
            assert_eq!(retranslate(&translated.body, model).expect(name).body, translated.body, "{name}");
        }
        Err(fault) => {
            let param = fault.param.as_deref().unwrap_or_default().to_owned();
            let refused = Refused { code: fault.code.to_owned(), param };
            assert_eq!(Some(&refused), expected.fault.as_ref(), "{name}: {fault}");
        }
    }
}

/// The service tier is next to the counts; golden exchanges all use the standard tier.
fn check_usage(name: &str, found: Option<Usage>, expected: Option<Counts>) {
    let tier = found.and_then(|usage| usage.tier);
    assert!(tier.is_none_or(|tier| tier == Tier::Standard), "{name}");
    assert_eq!(found, expected.map(|counts| Usage { tier, ..Usage::from(counts) }), "{name}");
}

fn check_stream(name: &str, cancelled: bool, chunks: &[Bytes], expected: &Streamed) {
    let mut stream = AnswerStream::new(answer_path());
    let mut out = Vec::new();
    let mut end = Ok(());
    for chunk in chunks {
        end = end.and_then(|()| stream.push(chunk.clone(), &mut out));
    }
    if !cancelled {
        end = end.and_then(|()| stream.finish(&mut out));
    }
    assert_eq!(String::from_utf8_lossy(&out.concat()), expected.client.concat(), "{name}");
    assert_eq!(end.err().map(Failed::from).as_ref(), expected.fault.as_ref(), "{name}");
    let facts = stream.facts();
    check_usage(name, facts.usage, expected.usage);
    assert_eq!(facts.content_bytes, expected.content_bytes, "{name}");
}

/// The result of a stream that arrives cut at these places.
fn push_cut(bytes: &[u8], cuts: &[usize]) -> (String, Option<StreamFault>, String) {
    let mut stream = AnswerStream::new(answer_path());
    let mut out = Vec::new();
    let mut end = Ok(());
    let mut at = 0;
    for cut in cuts.iter().chain([&bytes.len()]) {
        let chunk = bytes.get(at..*cut).unwrap_or_default();
        end = end.and_then(|()| stream.push(Bytes::copy_from_slice(chunk), &mut out));
        at = at.max(*cut);
    }
    let end = end.and_then(|()| stream.finish(&mut out));
    (String::from_utf8_lossy(&out.concat()).into_owned(), end.err(), format!("{:?}", stream.facts()))
}

proptest! {
    #[test]
    fn a_stream_is_the_same_however_it_is_cut(cuts in proptest::collection::vec(0_usize..3000, 0..12)) {
        let mut streams = Vec::new();
        each_exchange("anthropic", 26, |name, exchange| {
            if let Exchange::Stream { upstream, .. } = exchange {
                streams.push((name.to_owned(), upstream.concat().into_bytes()));
            }
            None
        });
        for (name, bytes) in streams {
            let mut inside: Vec<usize> = cuts.iter().map(|cut| cut % bytes.len()).collect();
            inside.sort_unstable();
            prop_assert_eq!(push_cut(&bytes, &inside), push_cut(&bytes, &[]), "{}", name);
        }
    }
}

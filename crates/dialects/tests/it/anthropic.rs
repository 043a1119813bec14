//! The exchanges in `golden/dialects/anthropic`: each has an upstream's or a client's bytes, and the expected
//! result.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::request::Request;
use conversation::target::{TargetModel, TranslatedRequest};
use dialects::{AnswerPath, AnswerStream, buffered_answer, decode_request, read_prompt, translate_request};
use domain::{Abilities, Fault, Grammar, Operation, Tier, Usage};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::golden::{Exchange, check_sent, chunks, each, fault_of, usage_of, whole};

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
    each("anthropic", 26, check);
}

fn check(name: &str, exchange: Exchange) {
    match &*exchange.kind {
        "stream" => {
            // In the recorded chunks, and again byte by byte.
            check_stream(name, &exchange, chunks(&exchange.upstream));
            check_stream(name, &exchange, whole(&exchange.upstream).chunks(1).map(Bytes::copy_from_slice));
        }
        "answer" => {
            let expected = &exchange.expected;
            let answered = buffered_answer(&answer_path(), whole(&exchange.upstream));
            assert_eq!(fault_of(answered.as_ref().err().cloned()), expected.fault, "{name}");
            if let Ok(answer) = answered {
                assert_eq!(answer.body, whole(&expected.client), "{name}");
                check_usage(name, answer.facts.usage, &expected.usage);
            }
        }
        "request" => check_sent(name, exchange, decoded),
        "prompt" => check_prompt(name, exchange),
        kind => panic!("{name} is {kind}"),
    }
}

/// Reads a prompt and writes it again.
fn check_prompt(name: &str, exchange: Exchange) {
    let (body, model, expected) = (Bytes::from(exchange.client), &exchange.upstream_model, exchange.expected);
    match retranslate(&body, model) {
        Ok(translated) => {
            let text = String::from_utf8_lossy(&translated.body);
            assert_eq!(Some(text.as_ref()), expected.upstream.as_deref(), "{name}");
            assert_eq!(Some(&translated.dropped), expected.dropped.as_ref(), "{name}");
            // Written once more it is the same: the translation is idempotent.
            assert_eq!(retranslate(&translated.body, model).expect(name).body, translated.body, "{name}");
        }
        Err(fault) => {
            let refused = json!({"code": fault.code, "param": fault.param.as_deref().unwrap_or_default()});
            assert_eq!(refused, expected.fault, "{name}: {fault}");
        }
    }
}

/// The service tier is next to the counts; golden exchanges all use the standard tier.
fn check_usage(name: &str, found: Option<Usage>, expected: &Value) {
    let tier = found.and_then(|usage| usage.tier);
    assert!(tier.is_none_or(|tier| tier == Tier::Standard), "{name}");
    assert_eq!(found, usage_of(expected).map(|usage| Usage { tier, ..usage }), "{name}");
}

fn check_stream(name: &str, exchange: &Exchange, chunks: impl IntoIterator<Item = Bytes>) {
    let mut stream = AnswerStream::new(answer_path());
    let mut out = Vec::new();
    let mut end = chunks.into_iter().try_for_each(|chunk| stream.push(chunk, &mut out));
    if !exchange.cancelled {
        end = end.and_then(|()| stream.finish(&mut out));
    }
    let (facts, expected) = (stream.facts(), &exchange.expected);
    assert_eq!(Bytes::from(out.concat()), whole(&expected.client), "{name}");
    assert_eq!(fault_of(end.err()), expected.fault, "{name}");
    check_usage(name, facts.usage, &expected.usage);
    assert_eq!(Some(facts.content_bytes), expected.content_bytes, "{name}");
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
        each("anthropic", 26, |name, exchange| {
            if exchange.kind == "stream" {
                streams.push((name.to_owned(), whole(&exchange.upstream)));
            }
        });
        for (name, bytes) in streams {
            let mut inside: Vec<usize> = cuts.iter().map(|cut| cut % bytes.len()).collect();
            inside.sort_unstable();
            prop_assert_eq!(push_cut(&bytes, &inside), push_cut(&bytes, &[]), "{}", name);
        }
    }
}

//! The tests of `dialects::media::answer`.

use bytes::Bytes;
use conversation::answer::StreamFault;
use dialects::BufferedAnswer;
use dialects::media::buffered_ranking;
use domain::UsageSource;
use serde_json::{Value, json};

type Read = fn(Bytes) -> Result<BufferedAnswer, StreamFault>;

const IMAGES: Read = super::images;
const RANKING: Read = buffered_ranking;

fn read(reader: Read, body: &'static str) -> Result<BufferedAnswer, StreamFault> {
    reader(Bytes::from_static(body.as_bytes()))
}

#[test]
fn pictures_are_counted_and_passed_on() {
    let body = r#"{"created":1,"data":[{"b64_json":"AA=="},{"url":"u"}]}"#;
    let answer = read(IMAGES, body).unwrap();
    assert_eq!(answer.body, body);
    let usage = answer.facts.usage.unwrap();
    assert_eq!((usage.units.images, usage.has_tokens(), usage.source), (2, false, UsageSource::Provider));
}

#[test]
fn what_is_no_answer_is_told() {
    for (reader, body, word) in [
        (IMAGES, r#"{"created":1}"#, "not_an_answer"),
        (RANKING, r#"{"created":1}"#, "not_an_answer"),
        (IMAGES, "", "empty"),
        (IMAGES, "<html>", "html"),
        (RANKING, "[1]", "bad_json"),
        (RANKING, r#"{"results":["#, "bad_json"),
    ] {
        assert_eq!(read(reader, body).unwrap_err(), StreamFault::Broken(word), "{body}");
    }
    let refused = read(IMAGES, r#"{"error":{"message":"no"}}"#);
    assert!(matches!(refused, Err(StreamFault::Upstream(..))), "{refused:?}");
}

#[test]
fn ranks_have_one_shape() {
    let own = r#"{"object":"rerank","results":[{"index":1,"relevance_score":0.5,"document":{"text":"a"}}]}"#;
    assert_eq!(read(RANKING, own).unwrap().body, own);
    let other = r#"{"object":"list","model":"m","data":[{"index":1,"relevance_score":0.5,"document":"a"},{"index":0,"relevance_score":0.25}],"usage":{"total_tokens":3}}"#;
    let answer = read(RANKING, other).unwrap();
    let results = json!([
        {"index": 1, "relevance_score": 0.5, "document": {"text": "a"}}, {"index": 0, "relevance_score": 0.25},
    ]);
    let expected =
        json!({"object": "rerank", "model": "m", "results": results, "usage": {"total_tokens": 3}});
    assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap(), expected);
    assert_eq!(answer.facts.usage.unwrap().input, 3);
}

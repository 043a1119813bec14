//! Buffered image, moderation and rerank responses: passed on as they are, and metered.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use domain::UsageSource;
use json::members::Members;
use serde_json::{Value, json};

use super::counts;
use crate::buffered::BufferedAnswer;

/// Reads an image response that came with status 200.
///
/// # Errors
/// The body is not such a response, or it is an error sent with a success status.
pub(super) fn buffered_images(body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let answer = read_document(&body)?;
    if answer.find_array("data").is_none() {
        return Err(StreamFault::Broken("not_an_answer"));
    }
    let mut usage = counts::of_pictures(&answer);
    usage.units.images = answer.find_elements("data").len() as u64;
    usage.source = UsageSource::Provider;
    Ok(BufferedAnswer::plain(body, AnswerFacts { usage: Some(usage), content_bytes: 0 }))
}

/// Reads a response that is one JSON object and forwarded as it is.
///
/// # Errors
/// The body is not a JSON object, or it is an error in a 200.
pub fn buffered_object(body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let facts = chat::operations::read_answer(&body)?;
    Ok(BufferedAnswer::plain(body, facts))
}

/// Reads a ranking that came with status 200, which is forwarded in one shape.
///
/// # Errors
/// The body is not such a response, or it is an error sent with a success status.
pub fn buffered_ranking(body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let answer = read_document(&body)?;
    let facts = AnswerFacts { usage: counts::of_ranks(&answer), content_bytes: 0 };
    if answer.find_array("results").is_some() {
        return Ok(BufferedAnswer::plain(body, facts));
    }
    let no_answer = StreamFault::Broken("not_an_answer");
    if answer.find_array("data").is_none() {
        return Err(no_answer);
    }
    let text = chat::operations::document(&body)?;
    let renamed = serde_json::from_slice(text).ok().and_then(normalise_ranking).ok_or(no_answer)?;
    Ok(BufferedAnswer::plain(Bytes::from(renamed.to_string()), facts))
}

/// A document that is not an error.
fn read_document(body: &[u8]) -> Result<Members<'_>, StreamFault> {
    let text = chat::operations::document(body)?;
    let Some(answer) = Members::of_answer(text) else { return Err(StreamFault::Broken("bad_json")) };
    if answer.find_text("error").is_some() || answer.find_object("error").is_some() {
        return Err(chat::upstream_error(text));
    }
    Ok(answer)
}

/// Converts a rerank response that lists its results as `data`, with documents as plain strings, to the
/// common shape.
fn normalise_ranking(mut answer: Value) -> Option<Value> {
    let members = answer.as_object_mut()?;
    let mut results = members.remove("data")?;
    for result in results.as_array_mut()?.iter_mut().filter_map(Value::as_object_mut) {
        if let Some(document) = result.get_mut("document").filter(|document| document.is_string()) {
            *document = json!({"text": document.take()});
        }
    }
    members.insert("object".to_owned(), "rerank".into());
    members.insert("results".to_owned(), results);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = fn(Bytes) -> Result<BufferedAnswer, StreamFault>;

    const IMAGES: Read = buffered_images;
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
        let own =
            r#"{"object":"rerank","results":[{"index":1,"relevance_score":0.5,"document":{"text":"a"}}]}"#;
        assert_eq!(read(RANKING, own).unwrap().body, own);
        let other = r#"{"object":"list","model":"m","data":[{"index":1,"relevance_score":0.5,"document":"a"},{"index":0,"relevance_score":0.25}],"usage":{"total_tokens":3}}"#;
        let answer = read(RANKING, other).unwrap();
        let expected = json!({
            "object": "rerank",
            "model": "m",
            "results": [
                {"index": 1, "relevance_score": 0.5, "document": {"text": "a"}},
                {"index": 0, "relevance_score": 0.25},
            ],
            "usage": {"total_tokens": 3},
        });
        assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap(), expected);
        assert_eq!(answer.facts.usage.unwrap().input, 3);
    }
}

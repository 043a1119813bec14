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

//! Answers of OpenAI's API that are not conversations: embeddings, moderations, images, rankings.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use framing::sse::skip_lead;

use super::chunk::Reading;

/// Reads an answer without choices: one JSON object, with or without usage.
///
/// # Errors
/// The body is not a JSON object, or it is an error in a 200.
pub fn read_answer(body: &Bytes) -> Result<AnswerFacts, StreamFault> {
    read_counts(document(body)?)
}

/// The text of a body that is neither empty nor HTML.
pub fn document(body: &[u8]) -> Result<&[u8], StreamFault> {
    let text = skip_lead(body);
    match text.first() {
        None => Err(StreamFault::Broken("empty")),
        Some(b'<') => Err(StreamFault::Broken("html")),
        Some(_) => Ok(text),
    }
}

/// The usage of such an answer.
pub(super) fn read_counts(text: &[u8]) -> Result<AnswerFacts, StreamFault> {
    let mut reading = Reading::of_counts();
    reading.read(text, &mut Vec::new())?;
    Ok(AnswerFacts { usage: reading.usage(), content_bytes: 0 })
}

//! Requests of OpenAI's API other than chat (embeddings, moderations, images, speech, rerank, video), and
//! their answers.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::request::Request;
use domain::{Fault, Operation};

use super::chunk::Reading;
use super::request::{MainInput, decode_of};
use super::scanner::skip_lead;

/// Reads a request of an operation.
pub fn decode(operation: Operation, body: &Bytes) -> Result<Request, Box<Fault>> {
    let main_input = match operation {
        Operation::Embed => MainInput::Input,
        Operation::Moderate => MainInput::Moderated,
        Operation::Complete => MainInput::Prompt,
        Operation::Images => MainInput::Image,
        Operation::Speech => MainInput::Speech,
        Operation::Rerank => MainInput::Query,
        Operation::Video => MainInput::Video,
        Operation::Chat
        | Operation::Run
        | Operation::Verify
        | Operation::Count
        | Operation::Stored
        | Operation::File
        | Operation::Batch
        | Operation::Transcribe
        | Operation::Translate
        | Operation::ImageEdits
        | Operation::ImageVariations
        | Operation::Realtime => MainInput::Messages,
    };
    let mut request = decode_of(body, main_input)?;
    match operation {
        // Their answers are never streamed, whatever the request says.
        Operation::Embed | Operation::Moderate | Operation::Rerank | Operation::Video => {
            request.stream = false
        }
        // Audio is forwarded while it is synthesised, as events or as bytes.
        Operation::Speech => request.stream = true,
        _ => {}
    }
    Ok(request)
}

/// Reads a request to remix an existing video.
pub fn decode_remix(body: &Bytes) -> Result<Request, Box<Fault>> {
    Ok(Request { stream: false, ..decode_of(body, MainInput::Remix)? })
}

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

//! Requests about files, batches and videos that providers store, and the answers to them.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::request::{Addressed, Request, RequestPart, Stored, StoredAct};
use domain::{Fault, Grammar, StoredKind, StoredObjectKind};
use framing::sse::skip_lead;
use json::fields::not_empty;
use json::refusal::{duplicate, missing, no_object, wrong_type};
use json::{Cursor, Kind, Span, Value};

use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;
use crate::registry::{face, stored_objects};

const INPUT: &str = "input_file_id";

/// Reads a request for a new batch: it names a file of requests, or holds them, as its dialect has it.
pub fn decode_batch(
    grammar: Grammar,
    body: &Bytes,
    addressed: Option<&Addressed>,
) -> Result<Request, Box<Fault>> {
    if let Some(batch) = face(grammar).decode_batch(body, addressed) {
        return batch;
    }
    let (id, span) = input_of(body)?;
    let stored = Stored::new(id, StoredAct::Make, String::new());
    Ok(Request { part: RequestPart::BatchFile(span), ..Request::about(stored) })
}

/// The input file of a new batch, and the span of its id.
fn input_of(body: &Bytes) -> Result<(String, Span), Box<Fault>> {
    not_empty(body)?;
    let mut cursor = Cursor::new(body)?;
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        return Err(no_object(kind));
    }
    let mut found = None;
    cursor.object(|cursor, member| {
        if !member.key.is(INPUT) {
            cursor.skip()?;
            return Ok::<(), Box<Fault>>(());
        }
        let kind = cursor.kind()?;
        let span = cursor.skip()?;
        let Value::String(text) = Cursor::new(span.of(body))?.value()? else {
            return Err(wrong_type(INPUT.to_owned(), "a string", kind));
        };
        match found.replace((text.decode().into_owned(), span)) {
            Some(_) => Err(duplicate(INPUT.to_owned())),
            None => Ok(()),
        }
    })?;
    cursor.end()?;
    found.ok_or_else(|| {
        missing(INPUT.to_owned(), "Upload the requests with POST /v1/files and purpose batch first.")
    })
}

/// Checks a response about a stored object.
///
/// # Errors
/// It is not a response about such an object.
pub fn buffered_stored_object(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let objects = StoredKind::of(answer_path.operation)
        .and_then(|kind| stored_objects(StoredObjectKind::of(answer_path.upstream.dialect(), kind)));
    let objects = objects.ok_or(StreamFault::Broken("not_an_answer"))?;
    let text = skip_lead(&body);
    let body = match text.first() {
        None => objects.empty_answer().map(|text| Bytes::from_static(text.as_bytes())).ok_or("empty"),
        Some(b'{') if objects.is_answer(text) => Ok(body),
        Some(_) => Err("not_an_answer"),
    };
    Ok(BufferedAnswer::plain(body.map_err(StreamFault::Broken)?, AnswerFacts::default()))
}

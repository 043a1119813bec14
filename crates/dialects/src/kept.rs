//! Files, batches and videos that providers store and that clients know by Tidegate's ids. Requests are sent
//! with the provider's id, and responses are rewritten with ours.

use std::borrow::Cow;

use bytes::Bytes;
use chat::skip_lead;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::request::{Addressed, Request, Stored, StoredAct, rename_at};
use conversation::stored::StoredObjectReport;
use domain::{Fault, Grammar, StoredObjectKind};
use json::fields::not_empty;
use json::refusal::{duplicate, missing, no_object, wrong_type};
use json::splice::{Edit, splice};
use json::{Cursor, JsonError, Kind, Span, Value, find_member};

use crate::buffered::BufferedAnswer;
use crate::registry::face;

const INPUT: &str = "input_file_id";
/// The members in which such an object names files.
const FILES: [&str; 3] = [INPUT, "output_file_id", "error_file_id"];
/// The member in which a video names the one that it was remixed from.
const REMIXED: &str = "remixed_from_video_id";

/// Reads a request for a new batch: it names a file of requests, or holds them, as its dialect has it.
///
/// # Errors
/// What is wrong, where, and how to fix it.
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
    Ok(Request { stored_value: Some(span), ..Request::about(stored) })
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

/// Checks a response that is one JSON object.
pub(crate) fn buffered_answer(grammar: Grammar, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let text = skip_lead(&body);
    match text.first() {
        None => Err(StreamFault::Broken("empty")),
        // Gemini returns an empty object for what was cancelled or deleted.
        Some(b'{') if grammar == Grammar::Gemini => Ok(BufferedAnswer::plain(body, AnswerFacts::default())),
        Some(b'{') if find_member(text, "id").is_ok_and(|found| found.is_some()) => {
            Ok(BufferedAnswer::plain(body, AnswerFacts::default()))
        }
        Some(_) => Err(StreamFault::Broken("not_an_answer")),
    }
}

/// A response about a job. Stopping one returns an empty body.
pub(crate) fn job_answer(body: &Bytes) -> Result<BufferedAnswer, StreamFault> {
    let body = match skip_lead(body).first() {
        None => Bytes::from_static(b"{}"),
        Some(b'{') => body.clone(),
        Some(_) => return Err(StreamFault::Broken("not_an_answer")),
    };
    Ok(BufferedAnswer::plain(body, AnswerFacts::default()))
}

/// The response with every id of the provider's replaced by `ours`, and what it reports about the object.
pub fn rewrite_ids(
    body: &Bytes,
    kind: StoredObjectKind,
    ours: &mut dyn FnMut(StoredObjectKind, &str) -> String,
) -> Option<(Bytes, StoredObjectReport)> {
    if kind == StoredObjectKind::ContentBatch {
        return gemini::rename_batch(body, ours);
    }
    let mut made = StoredObjectReport::default();
    let mut edits = Vec::new();
    let own = if kind == StoredObjectKind::StoredBatch { converse::NAME } else { "id" };
    let (mut words, mut results) = (None, None);
    let mut cursor = Cursor::new(body).ok()?;
    let read = cursor.object(|cursor, member| {
        let span = cursor.skip()?;
        let value = Cursor::new(span.of(body))?.value()?;
        let name = member.key.decode();
        match (&*name, value) {
            (name, Value::String(text)) if name == own => {
                made.id = text.decode().into_owned();
                // The last segment of the ARN is enough for Bedrock, and needs no escaping in a path.
                if let (StoredObjectKind::StoredBatch, Some((_, end))) = (kind, made.id.rsplit_once('/')) {
                    made.id = end.to_owned();
                }
                edits.push((span, ours(kind, &made.id)));
            }
            (name, Value::String(text)) if FILES.contains(&name) => {
                let file = text.decode().into_owned();
                edits.push((span, ours(StoredObjectKind::File, &file)));
                made.files.push(file);
            }
            (REMIXED, Value::String(text)) if kind == StoredObjectKind::Video => {
                edits.push((span, ours(kind, &text.decode())));
            }
            ("prompt", _) if kind == StoredObjectKind::Video => words = Some(span),
            ("results_url", Value::String(_)) if kind == StoredObjectKind::MessageBatch => {
                results = Some(span)
            }
            ("purpose", Value::String(text)) => made.purpose = text.decode().into_owned(),
            // Lists are filtered by it.
            ("status", Value::String(text)) if kind == StoredObjectKind::StoredBatch => {
                made.purpose = text.decode().into_owned();
            }
            ("created_at", _) => made.created_unix_s = number(span.of(body)),
            ("expires_at", _) => made.expires_unix_s = number(span.of(body)),
            _ => {}
        }
        Ok::<(), JsonError>(())
    });
    read.ok()?;
    if made.id.is_empty() {
        return None;
    }
    if let Some(span) = results {
        edits.push((span, anthropic::results_address(&ours(kind, &made.id))));
    }
    let spliced = |words: Option<Span>| {
        let renames = edits.iter().map(|(span, name)| rename_at(*span, name));
        let cut = words.map(|span| Edit { span, text: Cow::Borrowed("null") });
        let mut out = Vec::new();
        splice(body, &mut renames.chain(cut).collect::<Vec<_>>(), &mut out);
        out.concat()
    };
    made.list_entry = String::from_utf8(spliced(words)).unwrap_or_default();
    Some((spliced(None).into(), made))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(body: &str, kind: StoredObjectKind) -> Option<(String, StoredObjectReport)> {
        let mut ours = |kind: StoredObjectKind, id: &str| format!("{}{id}", kind.prefix());
        let (body, made) = rewrite_ids(&Bytes::from(body.to_owned()), kind, &mut ours)?;
        Some((String::from_utf8(body.to_vec()).unwrap(), made))
    }

    #[test]
    fn every_name_of_the_providers_becomes_ours_and_all_else_stays() {
        let batch = r#"{"id": "b1", "input_file_id":"f1","output_file_id":"f2" ,"error_file_id":null,"metadata":{"id":"mine"},"created_at":17,"expires_at":19}"#;
        let (body, made) = rename(batch, StoredObjectKind::Batch).unwrap();
        let expected = r#"{"id": "batch_tg_b1", "input_file_id":"file-tg_f1","output_file_id":"file-tg_f2" ,"error_file_id":null,"metadata":{"id":"mine"},"created_at":17,"expires_at":19}"#;
        assert_eq!(body, expected);
        assert_eq!((&*made.id, made.files.as_slice()), ("b1", &["f1".to_owned(), "f2".to_owned()][..]));
        assert_eq!((made.created_unix_s, made.expires_unix_s), (Some(17), Some(19)));
        let (body, made) =
            rename(r#"{"object":"file","id":"f\u0031","purpose":"batch"}"#, StoredObjectKind::File).unwrap();
        assert_eq!(body, r#"{"object":"file","id":"file-tg_f1","purpose":"batch"}"#);
        assert_eq!((&*made.id, &*made.purpose), ("f1", "batch"));
        assert_eq!(made.list_entry, body);
        let ended = r#"{"results_url":"https://a.test/v1/messages/batches/m1/results","id":"m1","type":"message_batch"}"#;
        let (body, _) = rename(ended, StoredObjectKind::MessageBatch).unwrap();
        let expected = r#"{"results_url":"/v1/messages/batches/msgbatch_tg_m1/results","id":"msgbatch_tg_m1","type":"message_batch"}"#;
        assert_eq!(body, expected);
        let going = r#"{"id":"m1","results_url":null}"#;
        assert_eq!(
            rename(going, StoredObjectKind::MessageBatch).unwrap().0,
            r#"{"id":"msgbatch_tg_m1","results_url":null}"#
        );
        let job = r#"{"id":"x","jobArn":"arn:job/j1","status":"InProgress"}"#;
        let (body, made) = rename(job, StoredObjectKind::StoredBatch).unwrap();
        assert_eq!(body, job.replace("arn:job/j1", &format!("{}j1", StoredObjectKind::StoredBatch.prefix())));
        assert_eq!((&*made.id, &*made.purpose), ("j1", "InProgress"));
        assert_eq!(rename(r#"{"object":"file"}"#, StoredObjectKind::File), None);
        assert_eq!(rename("[]", StoredObjectKind::File), None);
    }

    #[test]
    fn a_film_is_listed_without_the_words_that_it_was_made_of() {
        let video =
            r#"{"id":"video_2","prompt":"a \"tide\" in","remixed_from_video_id":"video_1","file_id":"x"}"#;
        let (body, made) = rename(video, StoredObjectKind::Video).unwrap();
        let expected = |prompt: &str| {
            format!(
                r#"{{"id":"video_tg_video_2","prompt":{prompt},"remixed_from_video_id":"video_tg_video_1","file_id":"x"}}"#
            )
        };
        assert_eq!((body, made.list_entry), (expected(r#""a \"tide\" in""#), expected("null")));
        let own = r#"{"id":"video_2","prompt":"x","remixed_from_video_id":null}"#;
        assert!(
            rename(own, StoredObjectKind::Video)
                .unwrap()
                .1
                .list_entry
                .ends_with(r#""remixed_from_video_id":null}"#)
        );
    }

    #[test]
    fn a_new_batch_names_its_input_by_its_makers_name() {
        let body = Bytes::from_static(
            br#"{"endpoint":"/v1/responses","input_file_id":"file-tg_1","completion_window":"24h"}"#,
        );
        let mut request = decode_batch(Grammar::Chat, &body, None).unwrap();
        let stored = request.stored.as_mut().unwrap();
        assert_eq!((&*stored.id, stored.act), ("file-tg_1", StoredAct::Make));
        stored.provider_object_id = Some("file-abc".to_owned());
        let sent = conversation::request::upstream_body(&body, &request, "", true).concat();
        assert_eq!(
            sent,
            br#"{"endpoint":"/v1/responses","input_file_id":"file-abc","completion_window":"24h"}"#
        );
    }

    #[test]
    fn what_is_wrong_with_a_new_batch_is_said() {
        for (body, code) in [
            ("", "empty_body"),
            ("[]", "invalid_type"),
            ("{", "invalid_json"),
            ("{}", "missing_required_parameter"),
            (r#"{"input_file_id":7}"#, "invalid_type"),
            (r#"{"input_file_id":"a","input_file_id":"b"}"#, "duplicate_field"),
        ] {
            let read = decode_batch(Grammar::Chat, &Bytes::from(body), None);
            assert_eq!(read.unwrap_err().code, code, "{body}");
        }
    }
}

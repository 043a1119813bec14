//! Gemini's batch mode (`:batchGenerateContent`): what the pipeline reads of a new batch, the names in its
//! status, and the results of its requests.

use std::borrow::Cow;

use bytes::Bytes;
use conversation::batch::{BatchModels, BatchOutputLine, LineAnswer};
use conversation::fields::checked_model;
use conversation::objects::ClientIds;
use conversation::request::{Addressed, Request, RequestPart, rename_at};
use conversation::stored::StoredObjectReport;
use domain::{BatchCounts, Fault, FaultClass, Grammar};
use json::fields::{not_empty, open_object};
use json::refusal::{duplicate, missing, wrong_type};
use json::splice::{Edit, splice};
use json::{Cursor, JsonError, Kind, Span, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::embed::check_model;
use super::names::{each, members};
use super::objects::kind;
use crate::limits::BATCH_REQUESTS_MAX;

/// The endpoint under which a batch's requests are booked.
pub const CONTENTS: &str = ":generateContent";
/// The prefix of a batch's name.
pub(super) const RESOURCE: &str = "batches/";

/// How deep the lists of requests and responses are nested in a batch's objects.
const LISTS_DEPTH: u8 = 4;
const REQUESTS: &str = "batch.inputConfig.requests.requests";
const FILE: &str = "batch.inputConfig.fileName";
const SHAPE: &str = "Send {\"batch\":{\"inputConfig\":{\"requests\":{\"requests\":[{\"request\":{…}}]}}}}.";

/// What is read of a new batch.
#[derive(Default)]
struct New<'m> {
    model: &'m str,
    has_batch: bool,
    has_input: bool,
    has_list: bool,
    has_requests: bool,
    /// The number of requests.
    requests: usize,
    /// What each says of the length of an answer, and how many answers it asks for.
    bounds: Vec<(Option<u64>, u64)>,
    /// Where the body repeats the model of the path.
    resources: Vec<Span>,
}

/// Reads what the pipeline needs of a new batch.
pub fn decode(body: &Bytes, addressed: Option<&Addressed>) -> Result<Request, Box<Fault>> {
    not_empty(body)?;
    let Some(addressed) = addressed else {
        return Err(missing("model".to_owned(), "Send the model's id in the address, after models/."));
    };
    let model = checked_model(&addressed.model)?;
    let mut new = New { model: &addressed.model, ..New::default() };
    let mut cursor = open_object(body)?;
    members(&mut cursor, "body", |cursor, name, written| match name {
        "batch" => new.batch(cursor, written),
        _ => pass(cursor),
    })?;
    cursor.end()?;
    match (new.has_batch, new.requests) {
        (false, _) => Err(missing("batch".to_owned(), SHAPE)),
        (true, 0) => Err(missing(REQUESTS.to_owned(), SHAPE)),
        (true, _) => {
            let mut bundle = BatchModels::addressed(&addressed.model, new.resources);
            new.bounds.iter().for_each(|(most, answers)| bundle.bound(*most, *answers));
            let part = RequestPart::Batch(Box::new(bundle));
            Ok(Request { max_output_tokens: Some(0), part, ..Request::of_model(&model) })
        }
    }
}

fn pass(cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
    Ok(cursor.skip().map(drop)?)
}

fn once(seen: &mut bool, path: &str) -> Result<(), Box<Fault>> {
    if std::mem::replace(seen, true) { Err(duplicate(path.to_owned())) } else { Ok(()) }
}

impl New<'_> {
    fn batch(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        once(&mut self.has_batch, path)?;
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "model" => self.model_name(cursor, path),
                "inputConfig" => {
                    once(&mut self.has_input, &path)?;
                    self.input(cursor, &path)
                }
                _ => pass(cursor),
            }
        })
    }

    fn input(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "requests" => {
                    once(&mut self.has_list, &path)?;
                    self.list(cursor, &path)
                }
                "fileName" => match cursor.value()? {
                    Value::Null => Ok(()),
                    _ => Err(of_file()),
                },
                _ => pass(cursor),
            }
        })
    }

    fn list(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        members(cursor, path, |cursor, name, written| {
            if name != "requests" {
                return pass(cursor);
            }
            let path = format!("{path}.{written}");
            once(&mut self.has_requests, &path)?;
            each(cursor, |cursor, at| {
                if at < BATCH_REQUESTS_MAX {
                    self.request(cursor, &format!("{path}[{at}]"))
                } else {
                    Err(too_many())
                }
            })
        })
    }

    fn request(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        // The limit on keys applies to each request, as if it were a body of its own.
        cursor.begin_document();
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(path.to_owned(), "an object", kind));
        }
        self.requests += 1;
        let mut has_request = false;
        members(cursor, path, |cursor, name, written| {
            if name != "request" {
                return pass(cursor);
            }
            let path = format!("{path}.{written}");
            once(&mut has_request, &path)?;
            let kind = cursor.kind()?;
            if kind != Kind::Object {
                return Err(wrong_type(path, "an object", kind));
            }
            let (mut has_model, mut bound) = (false, (None, 1));
            members(cursor, &path, |cursor, name, written| {
                if name == "generationConfig" && cursor.kind()? == Kind::Object {
                    return members(cursor, &path, |cursor, name, _| {
                        match name {
                            "maxOutputTokens" => bound.0 = cursor.value()?.as_count(),
                            "candidateCount" => bound.1 = cursor.value()?.as_count().unwrap_or(1),
                            _ => pass(cursor)?,
                        }
                        Ok(())
                    });
                }
                if name != "model" {
                    return pass(cursor);
                }
                let path = format!("{path}.{written}");
                once(&mut has_model, &path)?;
                self.model_name(cursor, path)
            })?;
            self.bounds.push(bound);
            Ok(())
        })?;
        if has_request { Ok(()) } else { Err(missing(format!("{path}.request"), SHAPE)) }
    }

    /// Checks a model name in the body against the one in the path, and notes where it is.
    fn model_name(&mut self, cursor: &mut Cursor<'_>, path: String) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        match cursor.value()? {
            Value::Null => Ok(()),
            Value::String(text) => {
                check_model(&text.decode(), self.model, || path)?;
                self.resources.push(text.span);
                Ok(())
            }
            _ => Err(wrong_type(path, "a string", kind)),
        }
    }
}

fn of_file() -> Box<Fault> {
    let message = "Batches whose requests are in a file aren't supported here.";
    let fault = Fault::new(FaultClass::Unsupported, "batch_of_file", message).param(FILE.to_owned());
    Box::new(fault.fix(format!("Send the requests inline, in {REQUESTS}.")))
}

fn too_many() -> Box<Fault> {
    let message = format!("\"{REQUESTS}\" holds more than {BATCH_REQUESTS_MAX} requests.");
    let fault = Fault::new(FaultClass::BadRequest, "too_many_requests_in_batch", message);
    Box::new(fault.param(REQUESTS.to_owned()).fix("Send several batches."))
}

/// Rewrites a batch's status for the client: with our name of the batch. `list_entry` is the form for lists,
/// without the requests and responses.
pub fn rename(body: &Bytes, ours: &mut ClientIds<'_>) -> Option<(Bytes, StoredObjectReport)> {
    let (mut made, mut names, mut content) = (StoredObjectReport::default(), Vec::new(), Vec::new());
    let mut cursor = Cursor::new(body).ok()?;
    let read = cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "name" => names.extend(id_at(cursor)?),
            "response" => content.push(pass_apart(cursor, LISTS_DEPTH)?),
            "metadata" if cursor.kind()? == Kind::Object => {
                cursor.object(|cursor, member| {
                    match &*member.key.decode() {
                        "name" => names.extend(id_at(cursor)?),
                        "output" | "inputConfig" => content.push(pass_apart(cursor, LISTS_DEPTH)?),
                        _ => drop(cursor.skip()?),
                    }
                    Ok::<(), JsonError>(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok::<(), JsonError>(())
    });
    read.ok()?;
    cursor.end().ok()?;
    made.id = names.first()?.1.clone();
    let names: Vec<(Span, String)> =
        names.into_iter().map(|(span, id)| (span, format!("{RESOURCE}{}", ours(kind(), &id)))).collect();
    let spliced = |content: &[Span]| {
        let renames = names.iter().map(|(span, name)| rename_at(*span, name));
        let cuts = content.iter().map(|span| Edit { span: *span, text: Cow::Borrowed("null") });
        let mut out = Vec::new();
        splice(body, &mut renames.chain(cuts).collect::<Vec<_>>(), &mut out);
        out.concat()
    };
    made.list_entry = String::from_utf8(spliced(&content)).unwrap_or_default();
    Some((spliced(&[]).into(), made))
}

/// Skips a value without adding up its keys against the limit for one body, as it holds a list of request or
/// response bodies.
fn pass_apart(cursor: &mut Cursor<'_>, depth: u8) -> Result<Span, JsonError> {
    cursor.begin_document();
    match (cursor.kind()?, depth) {
        (Kind::Object, 1..) => cursor.object(|cursor, _| pass_apart(cursor, depth - 1).map(drop)),
        (Kind::Array, 1..) => cursor.array(|cursor, _| pass_apart(cursor, depth - 1).map(drop)),
        _ => cursor.skip(),
    }
}

/// The batch id in the next value, if that is the name of a batch.
fn id_at(cursor: &mut Cursor<'_>) -> Result<Option<(Span, String)>, JsonError> {
    let Value::String(text) = cursor.value()? else { return Ok(None) };
    let name = text.decode();
    let id = name.strip_prefix(RESOURCE).filter(|id| !id.is_empty() && !id.contains('/'));
    Ok(id.map(|id| (text.span, id.to_owned())))
}

/// A batch's progress.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GeminiBatchStatus {
    pub state: String,
    /// RFC 3339; set once all requests are done, whether they succeeded or not.
    pub ended_at: Option<String>,
}

#[derive(Deserialize)]
struct BatchOperation {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    state: String,
    create_time: Option<String>,
    end_time: Option<String>,
    batch_stats: Option<BatchStats>,
}

/// Counts, each a number as text; what is zero is left out.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct BatchStats {
    successful_request_count: Option<String>,
    failed_request_count: Option<String>,
    pending_request_count: Option<String>,
}

/// Reads a batch's status from the provider. Returns `None` if the body is not a batch.
pub fn read_gemini_batch_status(body: &[u8]) -> Option<GeminiBatchStatus> {
    let Metadata { state, create_time, end_time, .. } =
        serde_json::from_slice::<BatchOperation>(body).ok()?.metadata;
    // Any other state, an unknown one included, counts as still running.
    let has_ended = matches!(
        &*state,
        "BATCH_STATE_SUCCEEDED" | "BATCH_STATE_FAILED" | "BATCH_STATE_CANCELLED" | "BATCH_STATE_EXPIRED"
    );
    // Never the update time, which may differ at the next poll: the ledger recognises what it has already
    // booked by this time.
    let ended_at = end_time.or(create_time).filter(|_| has_ended);
    (!state.is_empty() && (ended_at.is_some() || !has_ended)).then_some(GeminiBatchStatus { state, ended_at })
}

/// Reads how many requests of a batch are in which state. What was cancelled counts as failed there.
pub fn read_gemini_batch_counts(body: &[u8]) -> Option<BatchCounts> {
    let metadata = serde_json::from_slice::<BatchOperation>(body).ok()?.metadata;
    let stats = metadata.batch_stats?;
    let read = |count: Option<String>| count.map_or(Some(0), |count| count.parse().ok());
    Some(BatchCounts {
        processing: read(stats.pending_request_count)?,
        succeeded: read(stats.successful_request_count)?,
        errored: read(stats.failed_request_count)?,
        ..BatchCounts::default()
    })
}

#[derive(Deserialize)]
struct OutputLine<'a> {
    #[serde(borrow)]
    metadata: Option<Keyed<'a>>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<Refused<'a>>,
}

#[derive(Deserialize)]
struct Keyed<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    #[serde(borrow)]
    model_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    response_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Refused<'a> {
    #[serde(default)]
    code: i64,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
}

/// Reads the result of one request. Its id is the key that the client gave it, which may be missing or shared
/// by several. Beside it the answer, whose usage it counts.
pub(super) fn read_item(item: &[u8]) -> Option<(BatchOutputLine, LineAnswer<'_>)> {
    let OutputLine { metadata, response, error } = serde_json::from_slice(item).ok()?;
    let key = metadata.and_then(|metadata| metadata.key).map(RawValue::get);
    let nothing = BatchOutputLine {
        custom_id: key.unwrap_or_default().to_owned(),
        model: None,
        status: 0,
        request_id: None,
        error_code: None,
        usage: None,
    };
    Some(match (response, error) {
        (_, Some(error)) => {
            let (status, word) = status_of(error.code);
            let code = error.status.map_or_else(|| word.to_owned(), Cow::into_owned);
            (BatchOutputLine { status, error_code: Some(code), ..nothing }, None)
        }
        (Some(response), None) => {
            let parsed = serde_json::from_str::<Answered<'_>>(response.get()).ok();
            let (model, request_id) =
                parsed.map_or((None, None), |parsed| (parsed.model_version, parsed.response_id));
            let line = BatchOutputLine {
                status: 200,
                model: model.map(Cow::into_owned),
                request_id: request_id.map(Cow::into_owned),
                ..nothing
            };
            (line, Some((response.get(), Grammar::Gemini)))
        }
        (None, None) => (nothing, None),
    })
}

/// The HTTP status and the name of a `google.rpc.Code`. Some servers put the HTTP status into `code`.
fn status_of(code: i64) -> (u16, &'static str) {
    match code {
        1 | 499 => (499, "CANCELLED"),
        3 => (400, "INVALID_ARGUMENT"),
        4 | 504 => (504, "DEADLINE_EXCEEDED"),
        5 | 404 => (404, "NOT_FOUND"),
        7 | 403 => (403, "PERMISSION_DENIED"),
        8 | 429 => (429, "RESOURCE_EXHAUSTED"),
        9 => (400, "FAILED_PRECONDITION"),
        10 | 409 => (409, "ABORTED"),
        11 => (400, "OUT_OF_RANGE"),
        14 | 503 => (503, "UNAVAILABLE"),
        16 | 401 => (401, "UNAUTHENTICATED"),
        400 => (400, "INVALID_ARGUMENT"),
        13 | 500 => (500, "INTERNAL"),
        _ => (500, "UNKNOWN"),
    }
}

/// The `google.rpc.Code` of a status by its name.
pub(super) fn code_of(name: &str) -> i64 {
    (1..=16).find(|code| status_of(*code).1 == name).unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use domain::StoredObjectKind;

    use super::*;

    fn read(body: &str) -> Result<Request, Box<Fault>> {
        let addressed = Addressed { model: "google/flash".to_owned(), ..Addressed::default() };
        decode(&Bytes::from(body.to_owned()), Some(&addressed))
    }

    fn of(requests: &str) -> String {
        format!(
            r#"{{"batch":{{"displayName":"a","inputConfig":{{"requests":{{"requests":[{requests}]}}}}}}}}"#
        )
    }

    #[test]
    fn its_model_is_that_of_its_address_wherever_it_is_named_again() {
        for body in [
            r#"{"batch":{"model":"models/google/flash","inputConfig":{"requests":{"requests":[{"request":{"contents":[{"model":"x"}],"model" : "google/flash"}},{"metadata":{"key":"b"},"request":{}},{"request":{"model":null}}]}}}}"#,
            r#"{"batch":{"model":"models/google\/flash","input_config":{"file_name":null,"requests":{"requests":[{"request":{"contents":[{"model":"x"}],"model" : "models/google/flash"}},{"metadata":{"key":"b"},"request":{}},{"request":{"model":null}}]}},"priority":7}}"#,
        ] {
            let mut request = read(body).unwrap();
            assert_eq!((&*request.model, request.max_output_tokens), ("google/flash", Some(0)));
            let body = Bytes::from(body);
            assert_eq!(
                conversation::request::upstream_body(&body, &request, "unread", true),
                std::slice::from_ref(&body)
            );
            let bundle = request.batch_mut().unwrap();
            assert!(bundle.is_of_one_model());
            assert_eq!(bundle.models[0].path, "model");
            bundle.models[0].upstream_name = Some("flash".to_owned());
            let sent = conversation::request::upstream_body(&body, &request, "unread", true).concat();
            let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
            assert_eq!(sent["batch"]["model"], "models/flash");
            let input = sent["batch"].get("inputConfig").unwrap_or(&sent["batch"]["input_config"]);
            let requests = &input["requests"]["requests"];
            assert_eq!(requests[0]["request"]["model"], "models/flash");
            assert_eq!(
                (&requests[0]["request"]["contents"][0]["model"], &requests[1]["metadata"]["key"]),
                (&"x".into(), &"b".into())
            );
            assert!(requests[2]["request"]["model"].is_null());
        }
    }

    #[test]
    fn what_is_wrong_with_a_new_one_is_said_with_its_place() {
        let list = "batch.inputConfig.requests.requests";
        let first = |name: &str| format!("{list}[0]{name}");
        for (body, code, param) in [
            (String::new(), "empty_body", None),
            ("[]".to_owned(), "invalid_type", None),
            ("{".to_owned(), "invalid_json", None),
            (of("{\"request\":{}}") + "x", "invalid_json", None),
            ("{}".to_owned(), "missing_required_parameter", Some("batch".to_owned())),
            (r#"{"batch":[]}"#.to_owned(), "invalid_type", Some("batch".to_owned())),
            (r#"{"batch":{},"batch":{}}"#.to_owned(), "duplicate_field", Some("batch".to_owned())),
            (r#"{"batch":{}}"#.to_owned(), "missing_required_parameter", Some(list.to_owned())),
            (of(""), "missing_required_parameter", Some(list.to_owned())),
            (of("7"), "invalid_type", Some(first(""))),
            (of("{}"), "missing_required_parameter", Some(first(".request"))),
            (of(r#"{"request":[]}"#), "invalid_type", Some(first(".request"))),
            (of(r#"{"request":{},"request":{}}"#), "duplicate_field", Some(first(".request"))),
            (of(r#"{"request":{"model":7}}"#), "invalid_type", Some(first(".request.model"))),
            (of(r#"{"request":{"model":"models/pro"}}"#), "invalid_value", Some(first(".request.model"))),
            (
                of(r#"{"request":{"model":"google/flash","model":"google/flash"}}"#),
                "duplicate_field",
                Some(first(".request.model")),
            ),
            (
                r#"{"batch":{"input_config":{},"inputConfig":{}}}"#.to_owned(),
                "duplicate_field",
                Some("batch.inputConfig".to_owned()),
            ),
            (
                r#"{"batch":{"inputConfig":{"fileName":"files/a"}}}"#.to_owned(),
                "batch_of_file",
                Some("batch.inputConfig.fileName".to_owned()),
            ),
            (
                r#"{"batch":{"input_config":{"file_name":7}}}"#.to_owned(),
                "batch_of_file",
                Some("batch.inputConfig.fileName".to_owned()),
            ),
        ] {
            let fault = read(&body).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (code, param.as_deref()), "{body}");
            assert!(fault.fix.is_some(), "{body}");
        }
    }

    /// Each request has its own limit on keys, and their number is limited.
    #[test]
    fn the_members_of_one_request_do_not_count_for_the_others() {
        let with_requests = |number: usize| of(&vec![r#"{"request":{}}"#; number].join(","));
        assert!(read(&with_requests(BATCH_REQUESTS_MAX)).is_ok());
        let fault = read(&with_requests(BATCH_REQUESTS_MAX + 1)).unwrap_err();
        assert_eq!((fault.code, fault.param.as_deref()), ("too_many_requests_in_batch", Some(REQUESTS)));
        let members: Vec<String> =
            (0..=domain::limits::JSON_KEYS_MAX).map(|at| format!(r#""{at}":0"#)).collect();
        let fault = read(&of(&format!(r#"{{"request":{{{}}}}}"#, members.join(",")))).unwrap_err();
        assert_eq!(fault.code, "json_too_many_keys");
    }

    fn apply_rename(body: &str) -> Option<(String, StoredObjectReport)> {
        let mut ours = |kind: StoredObjectKind, id: &str| format!("{}{id}", kind.prefix());
        let (body, made) = rename(&Bytes::from(body.to_owned()), &mut ours)?;
        Some((String::from_utf8(body.to_vec()).unwrap(), made))
    }

    #[test]
    fn its_names_become_ours_and_lists_tell_nothing_of_its_contents() {
        let upstream = r#"{"name": "batches/b1","metadata":{"name":"batches\/b1","model":"models/m","output":{"name":"batches/b1"},"inputConfig":{"requests":{}},"state":"S"},"done":true,"response":{"name":"batches/b1"}}"#;
        let (body, made) = apply_rename(upstream).unwrap();
        let expected = |output: &str, input: &str, response: &str| {
            format!(
                r#"{{"name": "batches/genbatch_tg_b1","metadata":{{"name":"batches/genbatch_tg_b1","model":"models/m","output":{output},"inputConfig":{input},"state":"S"}},"done":true,"response":{response}}}"#
            )
        };
        let inner = r#"{"name":"batches/b1"}"#;
        assert_eq!(body, expected(inner, r#"{"requests":{}}"#, inner));
        assert_eq!((&*made.id, made.list_entry), ("b1", expected("null", "null", "null")));
        for none in [
            r#"{"name":"batches/b"}]"#,
            "",
            "[]",
            "{}",
            r#"{"name":7}"#,
            r#"{"name":"operations/b"}"#,
            r#"{"name":"batches/"}"#,
            r#"{"name":"batches/a/b"}"#,
        ] {
            assert_eq!(apply_rename(none), None, "{none}");
        }
    }

    /// Some results have more keys in total than a body may have.
    #[test]
    fn a_long_list_of_results_is_passed_over() {
        let item =
            format!("{{{}}}", (0..1_000).map(|at| format!(r#""{at}":0"#)).collect::<Vec<_>>().join(","));
        let list = vec![item; domain::limits::JSON_KEYS_MAX / 1_000 + 1].join(",");
        let upstream = format!(
            r#"{{"name":"batches/b","metadata":{{"output":{{"inlinedResponses":{{"inlinedResponses":[{list}]}}}},"name":"batches/b"}},"response":{{"inlinedResponses":{{"inlinedResponses":[{list}]}}}}}}"#
        );
        assert_eq!(apply_rename(&upstream).unwrap().1.id, "b");
    }

    #[test]
    fn a_batch_says_when_it_ended() {
        let read_status =
            |metadata: &str| read_gemini_batch_status(format!(r#"{{"metadata":{metadata}}}"#).as_bytes());
        let going =
            read_status(r#"{"state":"BATCH_STATE_RUNNING","createTime":"c","updateTime":"u"}"#).unwrap();
        assert_eq!((&*going.state, going.ended_at), ("BATCH_STATE_RUNNING", None));
        for state in ["SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"] {
            let ended =
                read_status(&format!(r#"{{"state":"BATCH_STATE_{state}","createTime":"c","endTime":"e"}}"#))
                    .unwrap();
            assert_eq!(ended.ended_at.as_deref(), Some("e"), "{state}");
        }
        // Never a time that may differ at the next poll.
        let endless =
            read_status(r#"{"state":"BATCH_STATE_EXPIRED","createTime":"c","updateTime":"u"}"#).unwrap();
        assert_eq!(endless.ended_at.as_deref(), Some("c"));
        assert_eq!(read_status(r#"{"state":"BATCH_STATE_NEW","endTime":"e"}"#).unwrap().ended_at, None);
        for none in [r#"{"state":"BATCH_STATE_FAILED"}"#, "{}", "7"] {
            assert_eq!(read_status(none), None, "{none}");
        }
        assert_eq!(read_gemini_batch_status(b"{"), None);
    }

    #[test]
    fn the_counts_of_a_batch_are_texts_and_zeros_are_left_out() {
        let read =
            |metadata: &str| read_gemini_batch_counts(format!(r#"{{"metadata":{metadata}}}"#).as_bytes());
        let some =
            r#"{"batchStats":{"requestCount":"5","successfulRequestCount":"3","pendingRequestCount":"2"}}"#;
        let expected = BatchCounts { processing: 2, succeeded: 3, ..BatchCounts::default() };
        assert_eq!(read(some), Some(expected));
        for none in ["{}", r#"{"batchStats":{"failedRequestCount":"many"}}"#, r#"{"batchStats":7}"#] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}

//! Batches of files of requests that the gateway works through itself: what is in such a file, and how its batch, its results
//! and their files are written.

use std::collections::HashSet;

use bytes::Bytes;
use conversation::own_batch::{FileRequests, OwnBatches, OwnFiles, OwnItem, OwnResult};
use domain::limits::BATCH_FILE_REQUESTS_MAX;
use domain::{Fault, ItemOutcome, KeptFile, OwnBatch, ResultsFile, StoredObjectId};
use json::refusal::{missing, wrong_value};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::limits::{
    BATCH_ERRORS_MAX, METADATA_MEMBERS_MAX, METADATA_NAME_CHARS_MAX, METADATA_TEXT_CHARS_MAX,
};
use crate::pooled;

const PURPOSE: &str = "batch";
const RESULTS_PURPOSE: &str = "batch_output";
/// The one window that the vendor has.
const WINDOW: &str = "24h";
const METHOD: &str = "POST";

#[derive(Debug)]
pub(crate) struct OwnFileBatches;

/// The request that makes a batch.
#[derive(Deserialize)]
struct Create {
    #[serde(default)]
    endpoint: Value,
    #[serde(default)]
    completion_window: Value,
    #[serde(default)]
    metadata: Value,
    input_file_id: String,
}

/// A line of a file of requests.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    custom_id: Option<String>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    model: Value,
    #[serde(default)]
    stream: Value,
}

/// The details stored with a file.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct FileDetails {
    name: String,
    bytes: u64,
}

/// The details stored with a batch.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct BatchDetails {
    endpoint: String,
    input_file_id: String,
    metadata: Value,
    /// What is wrong with its file, of which nothing is worked through then.
    errors: Vec<LineError>,
}

/// What is wrong with a line.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct LineError {
    code: String,
    line: Option<u64>,
    message: String,
    param: Option<String>,
}

impl LineError {
    fn new(code: &str, message: &str, param: Option<&str>) -> Self {
        Self { code: code.into(), line: None, message: message.into(), param: param.map(str::to_owned) }
    }
}

fn seconds(unix_ms: u64) -> u64 {
    unix_ms / 1_000
}

/// The `custom_id` of a line, or what is wrong with the line.
fn check_line(line: &[u8], endpoint: &str) -> Result<String, LineError> {
    let wrong = |reason, message, param| Err(LineError::new(reason, message, Some(param)));
    // A derived reader takes a list for the fields in their order.
    let object = line.trim_ascii_start().starts_with(b"{");
    let read = serde_json::from_slice::<Line<'_>>(line).ok().filter(|_| object);
    let Some(read) = read else {
        return Err(LineError::new(
            "invalid_json_line",
            "This line isn't a JSON object with the fields of a request.",
            None,
        ));
    };
    let required = "missing_required_parameter";
    let Some(custom_id) = read.custom_id.filter(|id| !id.is_empty()) else {
        return wrong(required, "This line has no custom_id.", "custom_id");
    };
    if read.method.as_deref() != Some(METHOD) {
        return wrong("invalid_method", "The method of a batch request must be POST.", "method");
    }
    match read.url.as_deref() {
        None => return wrong(required, "This line has no url.", "url"),
        Some(url) if url != endpoint => {
            return wrong("invalid_url", "The url of this line differs from the batch's endpoint.", "url");
        }
        Some(_) => {}
    }
    let Some(body) = read.body else { return wrong(required, "This line has no body.", "body") };
    let Ok(Body { model, stream }) = serde_json::from_str::<Body>(body.get()) else {
        return wrong("invalid_request", "The body of this line isn't a JSON object.", "body");
    };
    if model.as_str().is_none_or(str::is_empty) {
        return wrong(required, "The body of this line names no model.", "body.model");
    }
    if stream == Value::Bool(true) {
        let message = "Batch requests can't stream: leave stream out.";
        return wrong("invalid_request", message, "body.stream");
    }
    Ok(custom_id)
}

/// The requests of a file, or what is wrong with its lines.
fn requests(content: &Bytes, endpoint: &str) -> Result<Vec<Bytes>, Vec<LineError>> {
    let (mut items, mut errors, mut known) = (Vec::new(), Vec::new(), HashSet::new());
    for (at, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if items.len() == BATCH_FILE_REQUESTS_MAX {
            let message = format!("A batch has at most {BATCH_FILE_REQUESTS_MAX} requests.");
            return Err(vec![LineError::new("too_many_requests", &message, None)]);
        }
        let error = match check_line(line, endpoint) {
            Ok(custom_id) if known.insert(custom_id.clone()) => None,
            Ok(_) => {
                let message = "Another line has the same custom_id.";
                Some(LineError::new("duplicate_custom_id", message, Some("custom_id")))
            }
            Err(error) => Some(error),
        };
        errors.extend(error.map(|error| LineError { line: Some(at), ..error }));
        if errors.len() == BATCH_ERRORS_MAX {
            break;
        }
        items.push(content.slice_ref(line));
    }
    match (errors.is_empty(), items.is_empty()) {
        (false, _) => Err(errors),
        (true, true) => Err(vec![LineError::new("empty_file", "The file has no requests.", None)]),
        (true, false) => Ok(items),
    }
}

/// How far a batch is, in the vendor's words.
fn status(batch: &OwnBatch, details: &BatchDetails) -> &'static str {
    if !details.errors.is_empty() {
        return "failed";
    }
    match (batch.ended_unix_ms, batch.cancelled_unix_ms) {
        (None, None) if batch.counts.processing == 0 => "finalizing",
        (None, None) => "in_progress",
        (None, Some(_)) => "cancelling",
        (Some(_), Some(_)) => "cancelled",
        (Some(_), None) if batch.counts.expired > 0 => "expired",
        (Some(_), None) => "completed",
    }
}

fn file(id: StoredObjectId, about: (&str, &str), bytes: u64, from_unix_ms: u64) -> String {
    file_members(id, about, bytes, from_unix_ms).to_string()
}

fn file_members(id: StoredObjectId, (name, purpose): (&str, &str), bytes: u64, from_unix_ms: u64) -> Value {
    json!({
        "id": id.to_string(), "object": "file", "bytes": bytes, "created_at": seconds(from_unix_ms),
        "filename": name, "purpose": purpose, "status": "processed",
        "status_details": null,
    })
}

impl OwnBatches for OwnFileBatches {
    /// Its requests are in a file.
    fn split(&self, _body: &Bytes, _model: &str) -> Result<FileRequests, Box<Fault>> {
        Err(Box::new(Fault::internal()))
    }

    fn read_item(&self, item: &Bytes) -> Option<OwnItem> {
        let Line { custom_id, url, body, .. } = serde_json::from_slice(item).ok()?;
        let body = item.slice_ref(body?.get().as_bytes());
        Some(OwnItem { custom_id: custom_id?, body, addressed: None, endpoint: url })
    }

    fn write_line(&self, result: &OwnResult<'_>) -> Vec<u8> {
        let id = format!("batch_req_{}", result.position);
        let custom_id = Value::from(result.custom_id);
        let error = |reason: &str, message: &str| {
            let error = json!({"code": reason, "message": message});
            format!(r#"{{"id":"{id}","custom_id":{custom_id},"response":null,"error":{error}}}"#)
        };
        let line = match (result.outcome, result.exchange) {
            (ItemOutcome::Cancelled, _) => {
                error("batch_cancelled", "The batch was cancelled before this request began.")
            }
            (ItemOutcome::Expired, _) => {
                error("batch_expired", "The batch expired before this request began.")
            }
            (ItemOutcome::Succeeded | ItemOutcome::Errored, Some((trace, status))) => {
                let body = result.body_on_one_line().unwrap_or_else(|| "null".to_owned());
                format!(
                    r#"{{"id":"{id}","custom_id":{custom_id},"response":{{"status_code":{status},"request_id":"{trace}","body":{body}}},"error":null}}"#
                )
            }
            (ItemOutcome::Succeeded | ItemOutcome::Errored, None) => {
                error("unanswered", "The request was not answered.")
            }
        };
        (line + "\n").into_bytes()
    }

    fn write_batch(&self, batch: &OwnBatch) -> String {
        let details: BatchDetails = serde_json::from_str(&batch.details).unwrap_or_default();
        let status = status(batch, &details);
        let counts = batch.counts;
        let failed = counts.errored + counts.expired + counts.cancelled;
        let is_ended = batch.ended_unix_ms.is_some();
        let results = |results: ResultsFile, lines: u64| {
            (is_ended && lines > 0).then(|| results.of(batch.id).to_string())
        };
        let errors = (!details.errors.is_empty()).then(
            || json!({"object": "list", "data": serde_json::to_value(&details.errors).unwrap_or_default()}),
        );
        let mut written = json!({
            "id": batch.id.to_string(), "object": PURPOSE, "endpoint": details.endpoint, "errors": errors,
            "input_file_id": details.input_file_id, "completion_window": WINDOW, "status": status,
            "output_file_id": results(ResultsFile::Answers, counts.succeeded),
            "error_file_id": results(ResultsFile::Errors, failed),
            "created_at": seconds(batch.created_unix_ms), "in_progress_at": seconds(batch.created_unix_ms),
            "expires_at": seconds(batch.expires_unix_ms),
            "cancelling_at": batch.cancelled_unix_ms.map(seconds),
            "request_counts": {"total": counts.total(), "completed": counts.succeeded, "failed": failed},
            "metadata": details.metadata,
        });
        for (name, state) in [
            ("finalizing_at", "completed"),
            ("completed_at", "completed"),
            ("failed_at", "failed"),
            ("expired_at", "expired"),
            ("cancelled_at", "cancelled"),
        ] {
            let at = batch.ended_unix_ms.filter(|_| status == state).map(seconds);
            if let Some(members) = written.as_object_mut() {
                members.insert(name.to_owned(), at.into());
            }
        }
        written.to_string()
    }

    /// The dialect has no request that deletes a batch.
    fn write_deleted(&self, id: StoredObjectId) -> String {
        json!({"id": id.to_string(), "object": PURPOSE, "deleted": true}).to_string()
    }

    fn lines_type(&self) -> &'static str {
        "application/octet-stream"
    }

    fn may_be_pooled(&self, item: &Bytes) -> bool {
        pooled::may_be_pooled(item)
    }

    fn poolable(&self, content: &Bytes) -> Option<Vec<Bytes>> {
        requests(content, pooled::ENDPOINT).ok()
    }

    fn files(&self) -> Option<&'static dyn OwnFiles> {
        Some(&OwnFileBatches)
    }
}

impl OwnFiles for OwnFileBatches {
    fn purpose(&self) -> &'static str {
        PURPOSE
    }

    fn describe(&self, name: &str, bytes: u64) -> String {
        serde_json::to_string(&FileDetails { name: name.to_owned(), bytes }).unwrap_or_default()
    }

    fn write_file(&self, kept: &OwnBatch) -> String {
        let FileDetails { name, bytes } = serde_json::from_str(&kept.details).unwrap_or_default();
        file(kept.id, (&name, PURPOSE), bytes, kept.created_unix_ms)
    }

    fn write_kept_file(&self, kept: &KeptFile) -> String {
        let about = (kept.name.as_str(), kept.purpose.as_str());
        let mut written = file_members(kept.object_id(), about, kept.received, kept.created_unix_ms);
        if let Some(members) = written.as_object_mut() {
            members.insert("expires_at".to_owned(), seconds(kept.until_unix_ms).into());
        }
        written.to_string()
    }

    fn write_results_file(&self, batch: &OwnBatch, results: ResultsFile, bytes: u64) -> String {
        let what = match results {
            ResultsFile::Answers => "output",
            ResultsFile::Errors => "error",
        };
        let name = format!("{}_{what}.jsonl", batch.id);
        let from_unix_ms = batch.ended_unix_ms.unwrap_or(batch.created_unix_ms);
        file(results.of(batch.id), (&name, RESULTS_PURPOSE), bytes, from_unix_ms)
    }

    fn write_file_deleted(&self, id: StoredObjectId) -> String {
        json!({"id": id.to_string(), "object": "file", "deleted": true}).to_string()
    }

    fn read_file(
        &self,
        request: &Bytes,
        content: &Bytes,
        is_endpoint: &dyn Fn(&str) -> bool,
    ) -> Result<FileRequests, Box<Fault>> {
        let read = serde_json::from_slice::<Create>(request).map_err(|_| Box::new(Fault::internal()))?;
        let endpoint = match &read.endpoint {
            Value::Null => {
                return Err(missing(
                    "endpoint".to_owned(),
                    "Send the path that the requests are for, such as /v1/chat/completions.",
                ));
            }
            Value::String(endpoint) if is_endpoint(endpoint) => endpoint.clone(),
            _ => {
                let fix = "Send the path of an endpoint, such as /v1/chat/completions.".to_owned();
                return Err(wrong_value(
                    "endpoint".to_owned(),
                    "isn't an endpoint that batches support",
                    fix,
                ));
            }
        };
        if read.completion_window != WINDOW {
            let fix = format!("Send \"{WINDOW}\".");
            return Err(wrong_value("completion_window".to_owned(), "isn't a supported window", fix));
        }
        let metadata = own_metadata(read.metadata)?;
        let (items, errors) = match requests(content, &endpoint) {
            Ok(items) => (items, Vec::new()),
            Err(errors) => (Vec::new(), errors),
        };
        let details = BatchDetails { endpoint, input_file_id: read.input_file_id, metadata, errors };
        Ok(FileRequests { items, details: serde_json::to_string(&details).unwrap_or_default() })
    }
}

/// The client's own words about a batch, as the vendor bounds them.
fn own_metadata(sent: Value) -> Result<Value, Box<Fault>> {
    let is_own = |members: &Map<String, Value>| {
        members.len() <= METADATA_MEMBERS_MAX
            && members.iter().all(|(name, value)| {
                let text = value.as_str();
                name.chars().count() <= METADATA_NAME_CHARS_MAX
                    && text.is_some_and(|text| text.chars().count() <= METADATA_TEXT_CHARS_MAX)
            })
    };
    match sent {
        Value::Null => Ok(Value::Null),
        Value::Object(members) if is_own(&members) => Ok(Value::Object(members)),
        _ => {
            let fix = format!(
                "Send at most {METADATA_MEMBERS_MAX} names of up to {METADATA_NAME_CHARS_MAX} characters, each with a string \
                 of up to {METADATA_TEXT_CHARS_MAX}."
            );
            Err(wrong_value("metadata".to_owned(), "isn't an object of strings within the limits", fix))
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{BatchCounts, ObjectOwner, ProjectId, StoredObjectKind, TraceId, WorkspaceId};

    use super::*;

    const CHAT: &str = "/v1/chat/completions";

    fn read(request: &Value, content: &str) -> Result<FileRequests, Box<Fault>> {
        let (request, content) = (Bytes::from(request.to_string()), Bytes::from(content.to_owned()));
        OwnFileBatches.read_file(&request, &content, &|endpoint| endpoint == CHAT)
    }

    fn line(id: &str) -> String {
        format!(r#"{{"custom_id":"{id}","method":"POST","url":"{CHAT}","body":{{"model":"m", "x":1}}}}"#)
    }

    fn batch(details: String) -> OwnBatch {
        OwnBatch {
            id: StoredObjectId { kind: StoredObjectKind::BATCH, digest: [7; 16] },
            owner: ObjectOwner {
                workspace: WorkspaceId::new(1, [1; 10]),
                project: ProjectId::new(1, [2; 10]),
            },
            request: TraceId::new(1, [3; 10]),
            key: None,
            headers: Vec::new(),
            details,
            counts: BatchCounts { processing: 2, ..BatchCounts::default() },
            created_unix_ms: 784_111_777_000,
            expires_unix_ms: 784_198_177_000,
            cancelled_unix_ms: None,
            ended_unix_ms: None,
        }
    }

    #[test]
    fn the_requests_of_a_file_are_its_lines() {
        let made = json!({"input_file_id": "f", "endpoint": CHAT, "completion_window": "24h", "metadata": {"a": "b"}});
        let requests = read(&made, &format!("{}\r\n\n {}", line("one"), line("two"))).unwrap();
        let read_back: Vec<_> =
            requests.items.iter().map(|item| OwnFileBatches.read_item(item).unwrap()).collect();
        let [one, two] = &read_back[..] else { panic!("{read_back:?}") };
        assert_eq!((&*one.custom_id, &*two.custom_id, two.endpoint.as_deref()), ("one", "two", Some(CHAT)));
        assert_eq!(&one.body[..], br#"{"model":"m", "x":1}"#);
        let shown: Value =
            serde_json::from_str(&OwnFileBatches.write_batch(&batch(requests.details))).unwrap();
        assert_eq!((&shown["status"], &shown["metadata"]), (&json!("in_progress"), &json!({"a": "b"})));
        assert_eq!((&shown["errors"], &shown["output_file_id"]), (&Value::Null, &Value::Null));
        for (wrong, param) in [
            (json!({"input_file_id": "f", "completion_window": "24h"}), "endpoint"),
            (json!({"input_file_id": "f", "endpoint": CHAT}), "completion_window"),
            (
                json!({"input_file_id": "f", "endpoint": CHAT, "completion_window": "24h", "metadata": 1}),
                "metadata",
            ),
        ] {
            assert_eq!(read(&wrong, &line("a")).unwrap_err().param.as_deref(), Some(param));
        }
    }

    #[test]
    fn a_file_with_a_wrong_line_fails_whole_and_says_where() {
        let made = json!({"input_file_id": "f", "endpoint": CHAT, "completion_window": "24h"});
        for (content, line_number, code) in [
            (String::new(), Value::Null, "empty_file"),
            (format!("{}\n{}", line("a"), line("a")), json!(2), "duplicate_custom_id"),
            ("\n[]".to_owned(), json!(2), "invalid_json_line"),
            (line("a").replace("POST", "GET"), json!(1), "invalid_method"),
            (line("a").replace(CHAT, "/v1/x"), json!(1), "invalid_url"),
            (line("a").replace("model", "moon"), json!(1), "missing_required_parameter"),
            (line(""), json!(1), "missing_required_parameter"),
            (line("a").replace("\"x\":1", "\"stream\":true"), json!(1), "invalid_request"),
        ] {
            let read = read(&made, &content).unwrap();
            let ended = OwnBatch {
                ended_unix_ms: Some(784_111_779_000),
                counts: BatchCounts::default(),
                ..batch(read.details)
            };
            let shown: Value = serde_json::from_str(&OwnFileBatches.write_batch(&ended)).unwrap();
            assert_eq!((read.items.len(), &shown["status"]), (0, &json!("failed")), "{content}");
            assert_eq!(shown["failed_at"], 784_111_779, "{content}");
            let error = &shown["errors"]["data"][0];
            assert_eq!((&error["line"], &error["code"]), (&line_number, &json!(code)), "{content}");
        }
        let many: String = (0..200).map(|_| "x\n").collect();
        let shown: Value =
            serde_json::from_str(&OwnFileBatches.write_batch(&batch(read(&made, &many).unwrap().details)))
                .unwrap();
        assert_eq!(shown["errors"]["data"].as_array().unwrap().len(), BATCH_ERRORS_MAX);
    }

    #[test]
    fn a_line_is_read_as_a_result_whatever_the_answer() {
        let line = |outcome, body: &str, exchange| {
            let body = body.as_bytes();
            let line = OwnFileBatches.write_line(&OwnResult {
                custom_id: "a\"b",
                outcome,
                body,
                position: 4,
                exchange,
            });
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            serde_json::from_slice::<Value>(&line).unwrap()
        };
        let trace = TraceId::new(1, [3; 10]);
        let answer = line(ItemOutcome::Errored, "{\n\"error\": {}\r\n}", Some((trace, 429)));
        let response = json!({"status_code": 429, "request_id": trace.to_string(), "body": {"error": {}}});
        let expected = json!({"id": "batch_req_4", "custom_id": "a\"b", "response": response, "error": null});
        assert_eq!(answer, expected);
        for (outcome, code) in
            [(ItemOutcome::Cancelled, "batch_cancelled"), (ItemOutcome::Expired, "batch_expired")]
        {
            let shown = line(outcome, "", None);
            assert_eq!((&shown["response"], &shown["error"]["code"]), (&Value::Null, &json!(code)));
        }
    }

    #[test]
    fn a_batch_that_ended_names_the_files_of_its_results() {
        let show =
            |batch: &OwnBatch| serde_json::from_str::<Value>(&OwnFileBatches.write_batch(batch)).unwrap();
        let ended = |counts, cancelled_unix_ms| {
            let ended_unix_ms = Some(784_111_779_000);
            OwnBatch { counts, cancelled_unix_ms, ended_unix_ms, ..batch("{}".to_owned()) }
        };
        let some = BatchCounts { succeeded: 1, errored: 2, ..BatchCounts::default() };
        let [answers, errors] =
            ResultsFile::ALL.map(|results| json!(results.of(batch(String::new()).id).to_string()));
        let shown = show(&ended(some, None));
        assert_eq!((&shown["status"], &shown["completed_at"]), (&json!("completed"), &json!(784_111_779)));
        assert_eq!((&shown["output_file_id"], &shown["error_file_id"]), (&answers, &errors));
        assert_eq!(shown["request_counts"], json!({"total": 3, "completed": 1, "failed": 2}));
        let none = BatchCounts { expired: 1, ..BatchCounts::default() };
        let shown = show(&ended(none, None));
        assert_eq!((&shown["status"], &shown["output_file_id"]), (&json!("expired"), &Value::Null));
        assert_eq!(show(&ended(none, Some(1)))["status"], "cancelled");
        let cancelling = OwnBatch { cancelled_unix_ms: Some(1), ..batch("{}".to_owned()) };
        assert_eq!(show(&cancelling)["status"], "cancelling");
    }
}

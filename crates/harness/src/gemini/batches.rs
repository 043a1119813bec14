//! `:batchGenerateContent` and `batches`: each poll advances a batch by one stage, and its results are
//! generated when it ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::answering;
use super::error::ApiError;
use super::request::GenerateRequest;
use super::service::{Admitted, json};
use crate::emulator::Model;
use crate::emulator::service::{Answer, behaviour, moment, sliced};

const KIND: &str = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch";
const OUTPUT_KIND: &str =
    "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatchOutput";
const PAGE: usize = 50;
const PAGE_MAX: usize = 1_000;

/// The request to create a batch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Sent {
    batch: SentBatch,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SentBatch {
    model: Option<String>,
    display_name: String,
    input_config: Input,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    file_name: Option<String>,
    requests: Option<InlinedRequests>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct InlinedRequests {
    requests: Vec<InlinedRequest>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct InlinedRequest {
    request: Option<GenerateRequest>,
    metadata: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pending,
    Running,
    Cancelling,
    Succeeded,
    Cancelled,
}

impl Stage {
    const fn state(self) -> &'static str {
        match self {
            Self::Pending => "BATCH_STATE_PENDING",
            // Gemini has no state for a cancellation in progress.
            Self::Running | Self::Cancelling => "BATCH_STATE_RUNNING",
            Self::Succeeded => "BATCH_STATE_SUCCEEDED",
            Self::Cancelled => "BATCH_STATE_CANCELLED",
        }
    }

    const fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Cancelled)
    }
}

/// One batch, owned by one key.
#[derive(Debug, Clone)]
struct Batch {
    owner: String,
    id: String,
    model: Model,
    display_name: String,
    created: OffsetDateTime,
    updated: OffsetDateTime,
    ended: Option<OffsetDateTime>,
    stage: Stage,
    requests: Vec<(GenerateRequest, Option<Map<String, Value>>)>,
    /// The result of each processed request, once the batch has ended.
    results: Vec<Value>,
}

/// All batches by id; ids increase with time.
#[derive(Default)]
pub(crate) struct Batches(Mutex<BTreeMap<String, Batch>>);

impl Batches {
    pub(crate) fn clear(&self) {
        self.all().clear();
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn create(&self, call: &Admitted<'_>, model: &Model, sent: Sent) -> Result<Answer, ApiError> {
        let batch = read(call, model, sent, call.guard.number())?;
        let operation = batch.operation(false);
        self.all().insert(batch.id.clone(), batch);
        json(&operation)
    }

    pub(crate) fn list(
        &self,
        call: &Admitted<'_>,
        size: Option<&str>,
        token: Option<&str>,
    ) -> Result<Answer, ApiError> {
        let all = self.all();
        let mut own: Vec<&Batch> = all.values().rev().filter(|batch| batch.owner == call.key).collect();
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            let at = own.iter().position(|batch| batch.id == token);
            drop(own.drain(..=at.ok_or_else(|| ApiError::invalid("Invalid page_token."))?));
        }
        let size = match size {
            None => 0,
            Some(size) => size.parse().map_err(|_| {
                ApiError::invalid(format!("Invalid value at 'page_size' (TYPE_INT32), {size}"))
            })?,
        };
        let size = if size == 0 { PAGE } else { size.min(PAGE_MAX) };
        let has_more = own.len() > size;
        own.truncate(size);
        let operations: Vec<Value> = own.iter().map(|batch| batch.operation(false)).collect();
        let next = own.last().filter(|_| has_more).map(|last| last.id.as_str());
        let page = match next {
            Some(next) => json!({ "operations": operations, "nextPageToken": next }),
            None => json!({ "operations": operations }),
        };
        json(&page)
    }

    /// A poll, which advances the batch; a script can send the results in slices.
    pub(crate) fn show(&self, call: &Admitted<'_>, id: &str) -> Result<Answer, ApiError> {
        let mut all = self.all();
        let batch = find(&mut all, call, id)?;
        batch.move_on(call);
        let (operation, has_ended) = (batch.operation(true), batch.stage.has_ended());
        drop(all);
        if has_ended { deliver(call, &operation) } else { json(&operation) }
    }

    pub(crate) fn cancel(&self, call: &Admitted<'_>, id: &str, body: &[u8]) -> Result<Answer, ApiError> {
        if !matches!(body.trim_ascii(), b"" | b"{}") {
            return Err(ApiError::invalid("Invalid JSON payload received. Unknown name: Cannot find field."));
        }
        let mut all = self.all();
        let batch = find(&mut all, call, id)?;
        if batch.stage.has_ended() {
            let message = "The batch is in a terminal state and cannot be cancelled.";
            return Err(ApiError::new(400, "FAILED_PRECONDITION", message));
        }
        batch.stage = Stage::Cancelling;
        json(&json!({}))
    }

    pub(crate) fn delete(&self, call: &Admitted<'_>, id: &str) -> Result<Answer, ApiError> {
        let mut all = self.all();
        find(&mut all, call, id)?;
        all.remove(id);
        json(&json!({}))
    }
}

fn find<'a>(
    all: &'a mut BTreeMap<String, Batch>,
    call: &Admitted<'_>,
    id: &str,
) -> Result<&'a mut Batch, ApiError> {
    let found = all.get_mut(id).filter(|batch| batch.owner == call.key);
    found.ok_or_else(|| ApiError::not_found(format!("Batch batches/{id} was not found.")))
}

/// Validates a new batch as strictly as Gemini does; each request's content is checked when it is processed.
fn read(call: &Admitted<'_>, model: &Model, sent: Sent, number: u64) -> Result<Batch, ApiError> {
    let SentBatch { model: named, display_name, input_config } = sent.batch;
    let other = |named: &str| named.strip_prefix("models/").unwrap_or(named) != model.id;
    if named.as_deref().is_some_and(other) {
        return Err(wrong("model", "the model must be the one in the path"));
    }
    let list = match (input_config.file_name, input_config.requests) {
        (Some(_), Some(_)) => {
            let why = "oneof field 'source' is already set. Cannot set 'requests'";
            return Err(wrong("input_config", why));
        }
        (Some(name), None) => return Err(ApiError::not_found(format!("File {name} was not found."))),
        (None, requests) => requests.unwrap_or_default().requests,
    };
    if list.is_empty() {
        return Err(wrong("input_config", "requests is empty"));
    }
    let mut requests = Vec::with_capacity(list.len());
    for (at, InlinedRequest { request, metadata }) in list.into_iter().enumerate() {
        let path = format!("input_config.requests.requests[{at}].request");
        let request = request.ok_or_else(|| wrong(&path, "request is required"))?;
        if request.model.as_deref().is_some_and(other) {
            return Err(wrong(&format!("{path}.model"), "the model must be the one in the path"));
        }
        requests.push((request, metadata));
    }
    let now = OffsetDateTime::now_utc();
    Ok(Batch {
        owner: call.key.clone(),
        id: format!("emulator{number:016}"),
        model: model.clone(),
        display_name,
        created: now,
        updated: now,
        ended: None,
        stage: Stage::Pending,
        requests,
        results: Vec::new(),
    })
}

fn wrong(path: &str, why: &str) -> ApiError {
    ApiError::invalid(format!("* BatchGenerateContentRequest.batch.{path}: {why}\n"))
}

impl Batch {
    fn move_on(&mut self, call: &Admitted<'_>) {
        match self.stage {
            Stage::Pending => {
                self.stage = Stage::Running;
                self.updated = OffsetDateTime::now_utc();
            }
            Stage::Running => self.end(call, self.requests.len(), Stage::Succeeded),
            // Requests processed before the cancellation are delivered.
            Stage::Cancelling => self.end(call, self.requests.len() / 2, Stage::Cancelled),
            Stage::Succeeded | Stage::Cancelled => {}
        }
    }

    fn end(&mut self, call: &Admitted<'_>, answered: usize, stage: Stage) {
        let requests = self.requests.iter().take(answered).enumerate();
        let results = requests.map(|(at, (request, metadata))| {
            let (name, outcome) = match answering::item(call, &self.model, request, at) {
                Ok(response) => ("response", response),
                Err(error) => ("error", status(&error)),
            };
            let metadata = metadata.as_ref().map(|metadata| ("metadata", Value::Object(metadata.clone())));
            object([(name, outcome)].into_iter().chain(metadata))
        });
        self.results = results.collect();
        let now = OffsetDateTime::now_utc();
        (self.stage, self.updated, self.ended) = (stage, now, Some(now));
    }

    fn operation(&self, with_results: bool) -> Value {
        let moment = |at: OffsetDateTime| Value::from(moment(at));
        let name = format!("batches/{}", self.id);
        let ended = self.ended.map(|ended| ("endTime", moment(ended)));
        let output = json!({ "inlinedResponses": { "inlinedResponses": self.results } });
        let includes_output = with_results && self.stage.has_ended();
        let output_field = includes_output.then(|| ("output", output.clone()));
        let metadata = [
            ("@type", KIND.into()),
            ("model", format!("models/{}", self.model.id).into()),
            ("displayName", self.display_name.as_str().into()),
            ("createTime", moment(self.created)),
            ("updateTime", moment(self.updated)),
            ("batchStats", self.stats()),
            ("state", self.stage.state().into()),
            ("name", name.as_str().into()),
        ];
        let metadata = object(metadata.into_iter().chain(ended).chain(output_field));
        let done = self.ended.map(|_| ("done", true.into()));
        let response = includes_output.then(|| {
            let kind = [("@type".to_owned(), OUTPUT_KIND.into())];
            let output = output.as_object().cloned().unwrap_or_default();
            ("response", Value::Object(kind.into_iter().chain(output).collect()))
        });
        object([("name", name.into()), ("metadata", metadata)].into_iter().chain(done).chain(response))
    }

    /// 64-bit integers are encoded as strings, and zero counts are omitted.
    fn stats(&self) -> Value {
        let failed = self.results.iter().filter(|result| result.get("error").is_some()).count();
        let counts = [
            ("requestCount", self.requests.len()),
            ("successfulRequestCount", self.results.len() - failed),
            ("failedRequestCount", failed),
            ("pendingRequestCount", self.requests.len() - self.results.len()),
        ];
        let nonzero = counts.into_iter().filter(|(_, number)| *number > 0);
        object(nonzero.map(|(name, number)| (name, number.to_string().into())))
    }
}

fn object<'a>(members: impl Iterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// An error in a batch result: a `google.rpc.Status` with a gRPC code instead of an HTTP status.
fn status(error: &ApiError) -> Value {
    const NUMBERS: &[(&str, u8)] = &[
        ("CANCELLED", 1),
        ("INVALID_ARGUMENT", 3),
        ("DEADLINE_EXCEEDED", 4),
        ("NOT_FOUND", 5),
        ("PERMISSION_DENIED", 7),
        ("RESOURCE_EXHAUSTED", 8),
        ("FAILED_PRECONDITION", 9),
        ("ABORTED", 10),
        ("UNAVAILABLE", 14),
        ("UNAUTHENTICATED", 16),
    ];
    let known = NUMBERS.iter().find(|(name, _)| *name == error.status);
    json!({ "code": known.map_or(13, |(_, number)| *number), "message": error.message })
}

/// A script's `interval` is the pause between slices of the response.
fn deliver(call: &Admitted<'_>, operation: &Value) -> Result<Answer, ApiError> {
    let behaviour =
        behaviour(call.shared, &call.key, None).map_err(|error| ApiError::invalid(error.message))?;
    if let Some(status) = behaviour.status {
        return Err(ApiError::scripted(status, &behaviour));
    }
    if behaviour.interval == 0 {
        return json(operation);
    }
    let content = Bytes::from(operation.to_string());
    Ok(sliced("application/json; charset=UTF-8", &content, behaviour.interval))
}

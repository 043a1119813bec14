//! `/v1/batches`: each poll advances a batch by one stage, and its requests are answered in the stage
//! `finalizing`.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::files::{self, File};
use super::routes::OpenAiCall;
use super::{answer, embeddings, request};
use crate::emulator::answering::reply;
use crate::emulator::service::{Answer, json_answer, unix_seconds};
use crate::emulator::state::lock;
use crate::emulator::{Behaviour, UsageMode};
use crate::members::put;

#[rustfmt::skip]
const ENDPOINTS: &[&str] = &[
    "/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/moderations",
    "/v1/images/generations", "/v1/images/edits", "/v1/videos",
];
const FIELDS: &[&str] =
    &["input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"];
const WINDOW_S: u64 = 24 * 3_600;
const REQUESTS_MAX: usize = 50_000;
const CUSTOM_ID_CHARS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Validating,
    Failed,
    InProgress,
    Finalizing,
    Completed,
    Cancelling,
    Cancelled,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Completed => "completed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One batch, owned by one key.
#[derive(Debug, Clone)]
struct Batch {
    key: String,
    id: String,
    number: u64,
    input: String,
    endpoint: String,
    metadata: Value,
    created: u64,
    stage: Stage,
    /// When each stage began, by its name.
    since: Map<String, Value>,
    errors: Vec<Value>,
    total: usize,
    completed: usize,
    failed: usize,
    output: Option<String>,
    failures: Option<String>,
}

/// All batches by id; ids increase with time.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    kept: BTreeMap<String, Batch>,
}

impl Batches {
    fn find(&mut self, key: &str, id: &str) -> Result<&mut Batch, ApiError> {
        let found = self.kept.get_mut(id).filter(|batch| batch.key == key);
        found.ok_or_else(|| files::no_such("Batch", id))
    }
}

impl Batch {
    fn view(&self) -> Value {
        let errors = match self.errors.as_slice() {
            [] => Value::Null,
            errors => json!({"object": "list", "data": errors}),
        };
        let mut view = json!({
            "id": self.id, "object": "batch", "endpoint": self.endpoint, "errors": errors,
            "input_file_id": self.input, "completion_window": "24h", "status": self.stage.word(),
            "output_file_id": self.output, "error_file_id": self.failures,
            "created_at": self.created, "expires_at": self.created + WINDOW_S,
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "metadata": self.metadata,
        });
        for stage in
            ["in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"]
        {
            let name = format!("{stage}_at");
            let at = self.since.get(&name).cloned().unwrap_or_default();
            put(&mut view, &name, at);
        }
        view
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since.insert(format!("{}_at", stage.word()), unix_seconds().into());
    }

    /// Advances to the next stage.
    fn move_on(&mut self, call: &OpenAiCall<'_>) -> Result<(), ApiError> {
        match self.stage {
            Stage::Validating => {
                let input = lock(&call.shared.files).find(&self.key, &self.input)?.content.clone();
                let lines: Vec<&[u8]> = lines(&input).collect();
                self.errors = check(&lines, &self.endpoint);
                self.total = lines.len();
                self.enter(if self.errors.is_empty() { Stage::InProgress } else { Stage::Failed });
            }
            Stage::InProgress => self.enter(Stage::Finalizing),
            Stage::Finalizing => {
                self.answer(call, usize::MAX)?;
                self.enter(Stage::Completed);
            }
            Stage::Cancelling => {
                // Requests processed before the cancellation are delivered.
                self.answer(call, self.total / 2)?;
                self.enter(Stage::Cancelled);
            }
            Stage::Failed | Stage::Completed | Stage::Cancelled => {}
        }
        Ok(())
    }

    fn answer(&mut self, call: &OpenAiCall<'_>, most: usize) -> Result<(), ApiError> {
        let input = lock(&call.shared.files).find(&self.key, &self.input)?.content.clone();
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for (at, line) in lines(&input).enumerate().take(most) {
            let Ok(Value::Object(request)) = serde_json::from_slice(line) else { continue };
            let body = request.get("body").and_then(Value::as_object).cloned().unwrap_or_default();
            let (status, body) = match respond(call, &self.endpoint, &body) {
                Ok(body) => (200, body),
                Err(error) => (error.status, error.body(call.flavour)),
            };
            let line = json!({
                "id": format!("batch_req_{:x}_{at:x}", self.number), "custom_id": request.get("custom_id"),
                "response": {"status_code": status, "request_id": format!("req_{:x}_{at:x}", self.number), "body": body},
                "error": null,
            });
            if status < 400 { done.push(line) } else { failed.push(line) }
        }
        (self.completed, self.failed) = (done.len(), failed.len());
        self.output = self.keep(call, done, 1);
        self.failures = self.keep(call, failed, 2);
        Ok(())
    }

    /// Stores an output file of JSON lines, not in the order of the requests.
    fn keep(&self, call: &OpenAiCall<'_>, mut lines: Vec<Value>, part: u32) -> Option<String> {
        if lines.is_empty() {
            return None;
        }
        lines.reverse();
        let content: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let id = files::id("file-", self.number, part);
        lock(&call.shared.files).keep(File {
            key: self.key.clone(),
            id: id.clone(),
            filename: format!("{}_{part}.jsonl", self.id),
            purpose: "batch_output".to_owned(),
            created: unix_seconds(),
            expires: None,
            content: Bytes::from(content),
        });
        Some(id)
    }
}

fn lines(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

/// The errors that OpenAI reports for an input file.
fn check(lines: &[&[u8]], endpoint: &str) -> Vec<Value> {
    let whole =
        |code: &str, message: String| json!({"code": code, "message": message, "line": null, "param": null});
    if lines.is_empty() {
        return vec![whole("empty_file", "The input file is empty.".to_owned())];
    }
    if lines.len() > REQUESTS_MAX {
        return vec![whole("too_many_tasks", format!("There are more than {REQUESTS_MAX} requests."))];
    }
    let (mut ids, mut model, mut errors) = (HashSet::new(), None, Vec::new());
    for (at, line) in lines.iter().enumerate() {
        let wrong = match serde_json::from_slice::<Value>(line) {
            Ok(Value::Object(request)) => check_ask(&request, endpoint, &mut ids, &mut model),
            _ => vec![("invalid_json_line", "This line is not parseable as valid JSON.".to_owned(), None)],
        };
        let entries = wrong.into_iter().map(
            |(code, message, param)| json!({"code": code, "message": message, "line": at + 1, "param": param}),
        );
        errors.extend(entries);
    }
    errors
}

/// A code, a message, and the field.
type LineError = (&'static str, String, Option<&'static str>);

fn check_ask(
    request: &Map<String, Value>,
    endpoint: &str,
    ids: &mut HashSet<String>,
    first_model: &mut Option<String>,
) -> Vec<LineError> {
    let missing =
        |name| ("missing_required_parameter", format!("Missing required parameter: '{name}'."), Some(name));
    let text = |name: &str| request.get(name).and_then(Value::as_str);
    let mut wrong = Vec::new();
    match text("custom_id") {
        None | Some("") => wrong.push(missing("custom_id")),
        Some(id) if id.chars().count() > CUSTOM_ID_CHARS_MAX => {
            wrong.push(("invalid_custom_id", "The custom_id is too long.".to_owned(), Some("custom_id")));
        }
        Some(id) if !ids.insert(id.to_owned()) => {
            let message = format!("The custom_id '{id}' for this request is a duplicate of another request.");
            wrong.push(("duplicate_custom_id", message, Some("custom_id")));
        }
        Some(_) => {}
    }
    if text("method") != Some("POST") {
        wrong.push(("invalid_method", "The HTTP method must be POST.".to_owned(), Some("method")));
    }
    if text("url") != Some(endpoint) {
        let message = "The URL provided for this request does not match the batch endpoint.";
        wrong.push(("mismatched_url", message.to_owned(), Some("url")));
    }
    let model = request.get("body").and_then(|body| body.get("model")).and_then(Value::as_str);
    match (model, first_model.as_deref()) {
        (None, _) => wrong.push(missing("body.model")),
        (Some(model), None) => *first_model = Some(model.to_owned()),
        (Some(model), Some(first)) if model != first => {
            let message =
                format!("The provided model '{model}' does not match that of the others, '{first}'.");
            wrong.push(("mismatched_model", message, Some("body.model")));
        }
        (Some(_), Some(_)) => {}
    }
    wrong
}

/// The response to one request.
fn respond(call: &OpenAiCall<'_>, endpoint: &str, body: &Map<String, Value>) -> Result<Value, ApiError> {
    match endpoint {
        "/v1/chat/completions" => {
            let mut chat = request::chat(body, call.served())?;
            let behaviour = script_behaviour(chat.script.as_deref())?;
            let cache = call.flavour.cache(call.key, &call.head.headers, body);
            Ok(answer::whole(&reply(call, &mut chat, &cache, &behaviour)?, UsageMode::Normal))
        }
        "/v1/embeddings" => {
            let wanted = embeddings::read(body, call.served())?;
            script_behaviour(wanted.script.as_deref())?;
            Ok(embeddings::answer(&wanted))
        }
        other => Err(ApiError::bad(format!("The emulator works through no batches of {other}."))),
    }
}

/// The behaviour that a request's own script sets.
fn script_behaviour(script: Option<&str>) -> Result<Behaviour, ApiError> {
    let behaviour = match script {
        Some(script) => Behaviour::parse(script).map_err(|error| ApiError::bad(error.to_string()))?,
        None => Behaviour::ok(),
    };
    match behaviour.status.filter(|status| *status >= 400) {
        Some(status) => Err(ApiError::new(status, "server_error", "So it was scripted.")),
        None => Ok(behaviour),
    }
}

pub(crate) fn create(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let fields = call.fields()?;
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(ApiError::unknown_parameter(unknown));
    }
    let text =
        |name: &'static str| fields.get(name).and_then(Value::as_str).ok_or_else(|| ApiError::missing(name));
    let (input, endpoint, window) = (text("input_file_id")?, text("endpoint")?, text("completion_window")?);
    if !ENDPOINTS.contains(&endpoint) {
        return Err(ApiError::wrong_value("endpoint", endpoint, ENDPOINTS));
    }
    if window != "24h" {
        return Err(ApiError::wrong_value("completion_window", window, &["24h"]));
    }
    let metadata = fields.get("metadata").cloned().unwrap_or_default();
    let is_flat = metadata.as_object().is_none_or(|all| all.values().all(Value::is_string));
    if !is_flat || !(metadata.is_null() || metadata.is_object()) {
        return Err(ApiError::bad("Invalid metadata.").param("metadata"));
    }
    let file = lock(&call.shared.files).find(call.key, input)?.clone();
    if file.purpose != "batch" {
        let message = format!("Invalid purpose '{}' of the input file, expected 'batch'.", file.purpose);
        return Err(ApiError::bad(message).param("input_file_id"));
    }
    let number = call.number();
    let batch = Batch {
        key: call.key.to_owned(),
        id: files::id("batch_", number, 0),
        number,
        input: input.to_owned(),
        endpoint: endpoint.to_owned(),
        metadata,
        created: unix_seconds(),
        stage: Stage::Validating,
        since: Map::new(),
        errors: Vec::new(),
        total: 0,
        completed: 0,
        failed: 0,
        output: None,
        failures: None,
    };
    let view = batch.view();
    lock(&call.shared.batches).kept.insert(batch.id.clone(), batch);
    Ok(json_answer(200, Vec::new(), &view))
}

/// A poll, which advances the batch.
pub(crate) fn show(call: &OpenAiCall<'_>, id: &str) -> Result<Answer, ApiError> {
    let mut batch = lock(&call.shared.batches).find(call.key, id)?.clone();
    let before = batch.stage;
    batch.move_on(call)?;
    let view = batch.view();
    let mut batches = lock(&call.shared.batches);
    let kept = batches.find(call.key, id)?;
    // Of two concurrent polls, only one advances it.
    if kept.stage == before {
        *kept = batch;
    }
    Ok(json_answer(200, Vec::new(), &view))
}

pub(crate) fn cancel(call: &OpenAiCall<'_>, id: &str) -> Result<Answer, ApiError> {
    let mut batches = lock(&call.shared.batches);
    let batch = batches.find(call.key, id)?;
    match batch.stage {
        Stage::Validating | Stage::InProgress | Stage::Finalizing => batch.enter(Stage::Cancelling),
        Stage::Cancelling | Stage::Cancelled => {}
        Stage::Completed | Stage::Failed => {
            let message = format!("Cannot cancel a batch with status '{}'.", batch.stage.word());
            return Err(ApiError::new(409, "invalid_request_error", message));
        }
    }
    Ok(json_answer(200, Vec::new(), &batch.view()))
}

pub(crate) fn list(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let query = call.head.uri.query().unwrap_or_default();
    let param = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let batches = lock(&call.shared.batches);
    let own = batches.kept.values().rev().filter(|batch| batch.key == call.key);
    let limit = param("limit").map_or(Some(20), |limit| limit.parse().ok());
    let limit = limit.filter(|limit| (1..=100).contains(limit));
    let limit = limit.ok_or_else(|| ApiError::bad("Invalid limit.").param("limit"))?;
    Ok(json_answer(200, Vec::new(), &files::page(own.map(Batch::view).collect(), param("after"), limit)))
}

//! Bedrock's batch inference jobs: each poll advances a job by one stage, and its results are written to S3
//! when it ends.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::error::Refusal;
use super::models::{self, Served};
use super::{fields, service, storage, turns};
use crate::anthropic;
use crate::emulator::Behaviour;
use crate::emulator::service::{Call, moment, query_pairs};
use crate::emulator::state::lock;
use crate::members::put;

/// The role that may read and write S3.
pub const BATCH_ROLE: &str = "arn:aws:iam::123456789012:role/batches";
/// Jobs with fewer requests fail.
pub const REQUESTS_MIN: usize = 100;

const JOB: &str = "/model-invocation-job";
const JOBS: &str = "/model-invocation-jobs";
const ARN: &str = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/";
#[rustfmt::skip]
const FIELDS: &[&str] = &[
    "jobName", "roleArn", "clientRequestToken", "modelId", "inputDataConfig", "outputDataConfig",
    "timeoutDurationInHours", "tags", "modelInvocationType",
];
const NAME_CHARS_MAX: usize = 63;
const LIST_MAX: usize = 1_000;

/// An operation on jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Create,
    List,
    Show(String),
    Stop(String),
}

impl Act {
    /// The IAM action that it needs.
    pub(super) const fn action(&self) -> &'static str {
        match self {
            Self::Create => "CreateModelInvocationJob",
            Self::List => "ListModelInvocationJobs",
            Self::Show(_) => "GetModelInvocationJob",
            Self::Stop(_) => "StopModelInvocationJob",
        }
    }
}

/// One job, owned by one key.
#[derive(Debug, Clone)]
struct Job {
    key: String,
    id: String,
    fields: Map<String, Value>,
    status: &'static str,
    message: Option<String>,
    submitted: OffsetDateTime,
    ended: Option<OffsetDateTime>,
    requests: Vec<(String, Value)>,
    /// The number of requests in total, processed, and succeeded.
    counts: (usize, usize, usize),
}

/// All jobs by id; ids increase with time.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    kept: BTreeMap<String, Job>,
}

/// The operation that a control-plane path denotes; `None` for paths that are not about jobs.
pub(super) fn route(method: &Method, path: &str) -> Option<Act> {
    match (method.as_str(), path) {
        ("POST", JOB) => return Some(Act::Create),
        ("GET", JOBS) => return Some(Act::List),
        _ => {}
    }
    let (id, below) =
        path.strip_prefix(JOB)?.strip_prefix('/').map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
    let id = percent_decode_str(id).decode_utf8_lossy();
    let id = id.strip_prefix(ARN).unwrap_or(&id).to_owned();
    match (method.as_str(), below) {
        ("GET", "") => Some(Act::Show(id)),
        ("POST", "stop") => Some(Act::Stop(id)),
        _ => None,
    }
}

pub(super) fn answer(
    call: &Call<'_>,
    key: &str,
    act: &Act,
    fields: Map<String, Value>,
) -> Result<Value, Refusal> {
    let no_such = || Refusal::new(404, "ResourceNotFoundException", "The specified job could not be found.");
    let mut jobs = lock(&call.shared.jobs);
    match act {
        Act::Create => {
            let token = fields.get("clientRequestToken").cloned();
            let is_same = |job: &&Job| {
                token.is_some() && job.key == key && job.fields.get("clientRequestToken") == token.as_ref()
            };
            if let Some(job) = jobs.kept.values().find(is_same) {
                return Ok(json!({"jobArn": format!("{ARN}{}", job.id)}));
            }
            let job = read(call, key, fields)?;
            let id = job.id.clone();
            jobs.kept.insert(id.clone(), job);
            Ok(json!({"jobArn": format!("{ARN}{id}")}))
        }
        Act::List => list(call, key, &jobs),
        Act::Show(id) => {
            let job = jobs.kept.get_mut(id).filter(|job| job.key == key).ok_or_else(no_such)?;
            job.move_on(call);
            Ok(job.view())
        }
        Act::Stop(id) => {
            let job = jobs.kept.get_mut(id).filter(|job| job.key == key).ok_or_else(no_such)?;
            if job.ended.is_some() {
                return Err(Refusal::new(409, "ConflictException", "The job has already ended."));
            }
            job.status = "Stopping";
            Ok(json!({}))
        }
    }
}

/// Validates a new job as strictly as Bedrock does; the content of its file is checked later.
fn read(call: &Call<'_>, key: &str, fields: Map<String, Value>) -> Result<Job, Refusal> {
    if let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(Refusal::at(name, "extra inputs are not permitted"));
    }
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = text("jobName");
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
    if !(1..=NAME_CHARS_MAX).contains(&name.len()) || !name.bytes().all(is_name) {
        return Err(Refusal::at("jobName", "it does not match the pattern of names"));
    }
    if text("roleArn") != BATCH_ROLE {
        return Err(Refusal::invalid(
            "The service role could not be assumed, or has no access to the storage.",
        ));
    }
    models::find(text("modelId"))?;
    if !["", "InvokeModel", "Converse"].contains(&text("modelInvocationType")) {
        return Err(Refusal::at("modelInvocationType", "it is InvokeModel or Converse"));
    }
    for (config, inner) in
        [("inputDataConfig", "s3InputDataConfig"), ("outputDataConfig", "s3OutputDataConfig")]
    {
        let uri = fields.get(config).and_then(|config| config.get(inner)?.get("s3Uri")?.as_str());
        if uri.and_then(storage::location).is_none() {
            return Err(Refusal::at(config, "its s3Uri names no place in a bucket"));
        }
    }
    let hours = fields.get("timeoutDurationInHours");
    if hours.is_some_and(|hours| hours.as_u64().is_none_or(|hours| !(24..=168).contains(&hours))) {
        return Err(Refusal::at("timeoutDurationInHours", "it is from 24 to 168"));
    }
    Ok(Job {
        key: key.to_owned(),
        id: format!("{:012x}", call.number),
        fields,
        status: "Submitted",
        message: None,
        submitted: OffsetDateTime::now_utc(),
        ended: None,
        requests: Vec::new(),
        counts: (0, 0, 0),
    })
}

impl Job {
    fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn uri(&self, config: &str, inner: &str) -> &str {
        self.fields
            .get(config)
            .and_then(|config| config.get(inner)?.get("s3Uri")?.as_str())
            .unwrap_or_default()
    }

    fn view(&self) -> Value {
        let mut view = self.fields.clone();
        view.remove("tags");
        let (total, processed, well) = self.counts;
        let more = json!({
            "jobArn": format!("{ARN}{}", self.id), "status": self.status,
            "submitTime": moment(self.submitted), "lastModifiedTime": moment(self.ended.unwrap_or(self.submitted)),
            "jobExpirationTime": moment(self.submitted + time::Duration::days(7)),
            "totalRecordCount": total, "processedRecordCount": processed,
            "successRecordCount": well, "errorRecordCount": processed - well,
        });
        view.extend(more.as_object().cloned().unwrap_or_default());
        for (name, value) in [("message", self.message.clone()), ("endTime", self.ended.map(moment))] {
            if let Some(value) = value {
                view.insert(name.to_owned(), value.into());
            }
        }
        Value::Object(view)
    }

    fn move_on(&mut self, call: &Call<'_>) {
        match self.status {
            "Submitted" => self.status = "Validating",
            "Validating" => match self.input_requests(call) {
                Ok(requests) => {
                    self.counts.0 = requests.len();
                    (self.status, self.requests) = ("InProgress", requests);
                }
                Err(message) => self.end("Failed", Some(message)),
            },
            "InProgress" => self.finish(call, self.requests.len(), "Completed"),
            // Requests processed before the stop are delivered.
            "Stopping" => self.finish(call, self.requests.len() / 2, "Stopped"),
            _ => {}
        }
    }

    fn end(&mut self, status: &'static str, message: Option<String>) {
        (self.status, self.message, self.ended) = (status, message, Some(OffsetDateTime::now_utc()));
    }

    /// The requests in its input file, each with its record id.
    fn input_requests(&self, call: &Call<'_>) -> Result<Vec<(String, Value)>, String> {
        let uri = self.uri("inputDataConfig", "s3InputDataConfig");
        let content = storage::location(uri)
            .and_then(|(bucket, name)| lock(&call.shared.storage).get(&self.key, bucket, name))
            .ok_or_else(|| format!("No file was found at {uri}."))?;
        let lines: Vec<&[u8]> =
            content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        if lines.len() < REQUESTS_MIN {
            return Err(format!(
                "Batch job contains less records ({}) than the required minimum of {REQUESTS_MIN}.",
                lines.len()
            ));
        }
        let mut requests = Vec::new();
        for (at, line) in lines.into_iter().enumerate() {
            let ask: Map<String, Value> = serde_json::from_slice(line)
                .map_err(|error| format!("Line {} is no JSON object: {error}", at + 1))?;
            let input = ask.get("modelInput").filter(|input| input.is_object());
            let input = input.ok_or_else(|| format!("Line {} has no modelInput.", at + 1))?;
            let own = ask.get("recordId").and_then(Value::as_str).map(str::to_owned);
            requests.push((own.unwrap_or_else(|| format!("{at:011}")), input.clone()));
        }
        Ok(requests)
    }

    fn finish(&mut self, call: &Call<'_>, answered: usize, status: &'static str) {
        let mut lines = String::new();
        for (at, (id, input)) in self.requests.iter().take(answered).enumerate() {
            let (name, value) = match self.process(call, input, at) {
                Ok(output) => {
                    self.counts.2 += 1;
                    ("modelOutput", output)
                }
                Err(refusal) => {
                    ("error", json!({"errorCode": refusal.status, "errorMessage": refusal.message}))
                }
            };
            let line = json!({"modelInput": input, "recordId": id, name: value});
            lines.push_str(&format!("{line}\n"));
        }
        self.counts.1 = answered;
        let (total, processed, well) = self.counts;
        let manifest = json!({
            "totalRecordCount": total, "processedRecordCount": processed, "successRecordCount": well,
            "errorRecordCount": processed - well,
        });
        let file = self.uri("inputDataConfig", "s3InputDataConfig").rsplit('/').next().unwrap_or_default();
        let base = self.uri("outputDataConfig", "s3OutputDataConfig").trim_end_matches('/');
        let mut kept = lock(&call.shared.storage);
        let written =
            [(format!("{file}.out"), lines), ("manifest.json.out".to_owned(), manifest.to_string())];
        for (name, text) in written.into_iter().filter(|_| answered > 0) {
            let uri = format!("{base}/{}/{name}", self.id);
            if let Some((bucket, name)) = storage::location(&uri) {
                kept.put(&self.key, bucket, name, Bytes::from(text));
            }
        }
        drop(kept);
        self.end(status, None);
    }

    /// The output of one request, in the format of the job's invocation type.
    fn process(&self, call: &Call<'_>, input: &Value, at: usize) -> Result<Value, Refusal> {
        let served = models::find(self.text("modelId"))?;
        let fields = input.as_object().cloned().unwrap_or_default();
        if self.text("modelInvocationType") == "Converse" || served.id.starts_with("amazon.") {
            return conversation(call, &self.key, served, &fields);
        }
        if served.id.starts_with("anthropic.") {
            return message(call, &self.key, fields, at);
        }
        let prompt = fields.get("prompt").and_then(Value::as_str);
        let prompt = prompt.ok_or_else(|| Refusal::at("prompt", "it is to be given"))?;
        Ok(json!({
            "generation": format!("You said: {prompt}"), "prompt_token_count": 7, "generation_token_count": 5,
            "stop_reason": "stop",
        }))
    }
}

fn conversation(
    call: &Call<'_>,
    key: &str,
    served: &Served,
    fields: &Map<String, Value>,
) -> Result<Value, Refusal> {
    fields::check(fields)?;
    if fields.contains_key("toolConfig") {
        return Err(Refusal::invalid("Tool calling is not supported in batches."));
    }
    let request = turns::read(fields, served)?;
    let behaviour = match request.script.as_deref() {
        Some(script) => Behaviour::parse(script).map_err(|error| Refusal::at("requestMetadata", error))?,
        None => Behaviour::ok(),
    };
    match behaviour.status {
        Some(status) => Err(Refusal::scripted(status, &behaviour)),
        None => service::buffered_reply(call, key, served, &request, &behaviour),
    }
}

/// A request for Anthropic's models as in Anthropic's own batches, except that the body holds the version and
/// not the model.
fn message(call: &Call<'_>, key: &str, mut fields: Map<String, Value>, at: usize) -> Result<Value, Refusal> {
    if fields.remove("anthropic_version") != Some(json!("bedrock-2023-05-31")) {
        return Err(Refusal::at("anthropic_version", "Field required"));
    }
    if fields.contains_key("model") {
        return Err(Refusal::at("model", "Extra inputs are not permitted"));
    }
    fields.insert("model".to_owned(), "claude-haiku-4-5".into());
    let made = anthropic::batches::one(call, key, anthropic::batches::PLAIN, &fields, at);
    match made {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Refusal::scripted(408, &Behaviour::ok())),
        Err(refusal) => Err(Refusal::new(refusal.status, "ValidationException", refusal.message)),
    }
}

fn list(call: &Call<'_>, key: &str, jobs: &Jobs) -> Result<Value, Refusal> {
    let mut own: Vec<&Job> = jobs.kept.values().rev().filter(|job| job.key == key).collect();
    let mut limit = LIST_MAX;
    for (name, value) in query_pairs(&call.head.uri) {
        match (name, value) {
            ("maxResults", value) => {
                let read = value.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit));
                limit = read.ok_or_else(|| Refusal::at("maxResults", "it is from 1 to 1000"))?;
            }
            ("nextToken", value) => {
                let at = own.iter().position(|job| job.id == value);
                let at = at.ok_or_else(|| Refusal::at("nextToken", "it is of no page"))?;
                own.drain(..=at);
            }
            ("statusEquals", value) => own.retain(|job| job.status == value),
            ("sortBy", "CreationTime") | ("sortOrder", "Descending") => {}
            ("sortOrder", "Ascending") => own.reverse(),
            _ => return Err(Refusal::at(name, "it is not looked for here")),
        }
    }
    let next = own.get(limit.saturating_sub(1)).filter(|_| own.len() > limit).map(|job| job.id.clone());
    own.truncate(limit);
    let mut listing = json!({"invocationJobSummaries": own.iter().map(|job| job.view()).collect::<Vec<_>>()});
    if let Some(next) = next {
        put(&mut listing, "nextToken", next);
    }
    Ok(listing)
}

//! `/v1/messages/batches`: each poll advances a batch by one stage, and its results are generated when it
//! ends.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::error::Refusal;
use super::request::{self, Betas, Edition};
use super::service::{self, BASE};
use super::{answer, cache, checks};
use crate::anthropic::checks::{Field, Need::*, Shape::*};
use crate::emulator::service::{Answer, Call, json_answer, moment, query_pairs, sliced};
use crate::emulator::state::lock;
use crate::emulator::{Behaviour, UsageMode};

pub(crate) const PATH: &str = "/v1/messages/batches";

const FIELDS: &[Field] = &[("requests", List, Required)];
const ASK: &[Field] = &[("custom_id", Text, Required), ("params", Object, Required)];
const REQUESTS_MAX: usize = 100_000;
const CUSTOM_ID_CHARS_MAX: usize = 64;
const LIST_DEFAULT: usize = 20;
const LIST_MAX: usize = 1_000;

/// An operation on batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Create,
    List,
    Show(String),
    Cancel(String),
    Results(String),
    Delete(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In progress, after this many polls.
    InProgress(u8),
    Canceling,
    Ended,
}

/// One batch, owned by one key.
#[derive(Debug, Clone)]
struct Batch {
    key: String,
    id: String,
    created: OffsetDateTime,
    canceled: Option<OffsetDateTime>,
    ended: Option<OffsetDateTime>,
    stage: Stage,
    edition: Edition,
    requests: Vec<(String, Map<String, Value>)>,
    /// The result of each request, once all are processed.
    results: Vec<(String, Value)>,
}

/// All batches by id; ids increase with time.
#[derive(Debug, Default)]
pub(crate) struct MessageBatches {
    kept: BTreeMap<String, Batch>,
}

impl MessageBatches {
    fn find(&mut self, key: &str, id: &str) -> Result<&mut Batch, Refusal> {
        let found = self.kept.get_mut(id).filter(|batch| batch.key == key);
        found.ok_or_else(|| Refusal::not_found(format!("Message Batch {id} not found")))
    }
}

/// The operation that a path below `/v1/messages/batches` denotes.
pub(crate) fn route(method: &Method, path: &str) -> Result<Act, Refusal> {
    let rest = path.strip_prefix(PATH).unwrap_or_default().trim_start_matches('/');
    let (id, below) = rest.split_once('/').unwrap_or((rest, ""));
    let id = id.to_owned();
    match (method.as_str(), id.is_empty(), below) {
        ("POST", true, "") => Ok(Act::Create),
        ("GET", true, "") => Ok(Act::List),
        ("GET", false, "") => Ok(Act::Show(id)),
        ("DELETE", false, "") => Ok(Act::Delete(id)),
        ("POST", false, "cancel") => Ok(Act::Cancel(id)),
        ("GET", false, "results") => Ok(Act::Results(id)),
        (_, _, "" | "cancel" | "results") => {
            Err(Refusal::new(405, "invalid_request_error", "Method Not Allowed"))
        }
        _ => Err(Refusal::not_found("Not Found")),
    }
}

pub(crate) fn answer(
    call: &Call<'_>,
    key: &str,
    act: &Act,
    fields: &Map<String, Value>,
    edition: Edition,
) -> Result<Answer, Refusal> {
    let mut batches = lock(&call.shared.message_batches);
    let view = match act {
        Act::Create => {
            let batch = read(call, key, fields, edition)?;
            let view = batch.view(call);
            batches.kept.insert(batch.id.clone(), batch);
            view
        }
        Act::List => list(call, key, &batches)?,
        Act::Show(id) => {
            let batch = batches.find(key, id)?;
            batch.move_on(call);
            batch.view(call)
        }
        Act::Cancel(id) => {
            let batch = batches.find(key, id)?;
            match batch.stage {
                Stage::InProgress(_) => {
                    (batch.stage, batch.canceled) = (Stage::Canceling, Some(OffsetDateTime::now_utc()));
                }
                Stage::Canceling => {}
                Stage::Ended => return Err(Refusal::bad(format!("Batch {id} has already ended."))),
            }
            batch.view(call)
        }
        Act::Delete(id) => {
            if batches.find(key, id)?.stage != Stage::Ended {
                let message = format!("Batch {id} cannot be deleted while it is processing.");
                return Err(Refusal::bad(message));
            }
            batches.kept.remove(id);
            json!({"id": id, "type": "message_batch_deleted"})
        }
        Act::Results(id) => {
            let batch = batches.find(key, id)?;
            if batch.stage != Stage::Ended {
                return Err(Refusal::not_found(format!("Batch {id} has no available results.")));
            }
            let results = batch.results.clone();
            drop(batches);
            return results_answer(call, key, &results);
        }
    };
    Ok(json_answer(200, Vec::new(), &view))
}

/// Validates a new batch as strictly as Anthropic does; the content of `params` is checked later.
fn read(call: &Call<'_>, key: &str, fields: &Map<String, Value>, edition: Edition) -> Result<Batch, Refusal> {
    let also = &call.shared.config.accepted_fields;
    checks::fields("", fields, FIELDS, also)?;
    let list = fields.get("requests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() || list.len() > REQUESTS_MAX {
        let message = format!("List should have 1 to {REQUESTS_MAX} items, not {}", list.len());
        return Err(Refusal::at("requests", message));
    }
    let (mut requests, mut ids) = (Vec::new(), HashSet::new());
    for (at, ask) in list.iter().enumerate() {
        let path = format!("requests.{at}");
        let ask = checks::object(&path, ask)?;
        checks::fields(&path, ask, ASK, also)?;
        let id = ask.get("custom_id").and_then(Value::as_str).unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=CUSTOM_ID_CHARS_MAX).contains(&id.len()) || !id.bytes().all(is_plain) {
            let path = format!("{path}.custom_id");
            return Err(Refusal::at(&path, "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"));
        }
        if !ids.insert(id.to_owned()) {
            return Err(Refusal::at(&format!("{path}.custom_id"), format!("'{id}' is a duplicate")));
        }
        let params = ask.get("params").and_then(Value::as_object).cloned().unwrap_or_default();
        requests.push((id.to_owned(), params));
    }
    Ok(Batch {
        key: key.to_owned(),
        id: format!("msgbatch_{:012x}emulated", call.number),
        created: OffsetDateTime::now_utc(),
        canceled: None,
        ended: None,
        stage: Stage::InProgress(0),
        edition,
        requests,
        results: Vec::new(),
    })
}

impl Batch {
    fn view(&self, call: &Call<'_>) -> Value {
        let (status, results_url) = match self.stage {
            Stage::InProgress(_) => ("in_progress", None),
            Stage::Canceling => ("canceling", None),
            Stage::Ended => ("ended", Some(self.address(call))),
        };
        let counted = |kind: &str| {
            self.results
                .iter()
                .filter(|(_, result)| result.get("type").is_some_and(|own| own == kind))
                .count()
        };
        json!({
            "id": self.id, "type": "message_batch", "processing_status": status,
            "request_counts": {
                "processing": self.requests.len() - self.results.len(), "succeeded": counted("succeeded"),
                "errored": counted("errored"), "canceled": counted("canceled"), "expired": counted("expired"),
            },
            "created_at": moment(self.created), "expires_at": moment(self.created + time::Duration::days(1)),
            "ended_at": self.ended.map(moment), "cancel_initiated_at": self.canceled.map(moment),
            "archived_at": null, "results_url": results_url,
        })
    }

    /// The base URL that the client used.
    fn address(&self, call: &Call<'_>) -> String {
        let host = call.host();
        let base = if call.head.uri.path().starts_with(BASE) { BASE } else { "" };
        format!("http://{host}{base}{PATH}/{}/results", self.id)
    }

    fn move_on(&mut self, call: &Call<'_>) {
        match self.stage {
            Stage::InProgress(0) => self.stage = Stage::InProgress(1),
            Stage::InProgress(_) => self.end(call, self.requests.len()),
            // Requests processed before the cancellation are delivered.
            Stage::Canceling => self.end(call, self.requests.len() / 2),
            Stage::Ended => {}
        }
    }

    fn end(&mut self, call: &Call<'_>, answered: usize) {
        let results = self.requests.iter().enumerate().map(|(at, (id, params))| {
            let result =
                if at < answered { self.process(call, params, at) } else { json!({"type": "canceled"}) };
            (id.clone(), result)
        });
        self.results = results.collect();
        // Not in the order of the requests.
        self.results.reverse();
        (self.stage, self.ended) = (Stage::Ended, Some(OffsetDateTime::now_utc()));
    }

    fn process(&self, call: &Call<'_>, params: &Map<String, Value>, at: usize) -> Value {
        match one(call, &self.key, self.edition, params, at) {
            Ok(Some(message)) => json!({"type": "succeeded", "message": message}),
            Ok(None) => json!({"type": "expired"}),
            Err(refusal) => {
                json!({"type": "errored", "error": refusal.body(&format!("{}_{at}", call.request_id))})
            }
        }
    }
}

/// Requests of the older API version without beta features, for callers that have no headers.
pub(crate) const PLAIN: Edition = Edition { newer: false, betas: Betas::NONE };

/// One request's result; none if its script stalls, since a batch expires after a day.
pub(crate) fn one(
    call: &Call<'_>,
    key: &str,
    edition: Edition,
    params: &Map<String, Value>,
    at: usize,
) -> Result<Option<Value>, Refusal> {
    let config = &call.shared.config;
    let request = request::messages(params, edition, &config.claude_models, &config.accepted_fields)?;
    let never = [("stream", json!(true)), ("speed", json!("fast")), ("max_tokens", json!(0))];
    if let Some((name, value)) = never.iter().find(|(name, value)| params.get(*name) == Some(value)) {
        return Err(Refusal::at(name, format!("{value} is not supported in batches")));
    }
    let behaviour = match request.script.as_deref() {
        Some(script) => Behaviour::parse(script).map_err(|error| Refusal::at("metadata.user_id", error))?,
        None => Behaviour::ok(),
    };
    if let Some(status) = behaviour.status {
        return Err(Refusal::scripted(status, &behaviour));
    }
    if behaviour.stall.is_some() {
        return Ok(None);
    }
    let model = &request.model;
    let counted = call.shared.claude_cache(key, &model.id, |cached| {
        cache::count(&request.segments, model.cache_tokens_min, cached)
    });
    let number = call.number.wrapping_mul(1_000_000).wrapping_add(at as u64);
    let reply = answer::compose(&request, &behaviour, number, counted);
    Ok(Some(reply.whole(UsageMode::Normal)))
}

/// The results as JSON lines. A script's `interval` is the pause between slices of them.
fn results_answer(call: &Call<'_>, key: &str, results: &[(String, Value)]) -> Result<Answer, Refusal> {
    let lines =
        results.iter().map(|(id, result)| format!("{}\n", json!({"custom_id": id, "result": result})));
    let content = Bytes::from(lines.collect::<String>());
    let behaviour = service::behaviour(call, key, None)?;
    Ok(sliced("application/x-jsonl", &content, behaviour.interval))
}

fn list(call: &Call<'_>, key: &str, batches: &MessageBatches) -> Result<Value, Refusal> {
    let mut own: Vec<&Batch> = batches.kept.values().rev().filter(|batch| batch.key == key).collect();
    let (mut limit, mut is_before) = (LIST_DEFAULT, false);
    for (name, value) in query_pairs(&call.head.uri) {
        let found = own.iter().position(|batch| batch.id == value);
        match (name, found) {
            ("limit", _) => {
                let read = value.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit));
                limit = read.ok_or_else(|| Refusal::at("limit", "Input should be from 1 to 1000"))?;
            }
            ("after_id", Some(at)) => drop(own.drain(..=at)),
            ("before_id", Some(at)) => {
                own.truncate(at);
                is_before = true;
            }
            ("after_id" | "before_id", None) => {
                return Err(Refusal::at(name, format!("Invalid cursor: {value}")));
            }
            _ => return Err(Refusal::at(name, "Extra inputs are not permitted")),
        }
    }
    let has_more = own.len() > limit;
    if is_before {
        own.drain(..own.len().saturating_sub(limit));
    } else {
        own.truncate(limit);
    }
    Ok(json!({
        "data": own.iter().map(|batch| batch.view(call)).collect::<Vec<_>>(), "has_more": has_more,
        "first_id": own.first().map(|batch| &batch.id), "last_id": own.last().map(|batch| &batch.id),
    }))
}

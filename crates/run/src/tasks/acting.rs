//! What is done with tasks by their addresses.

use std::rc::Rc;

use admit::Caller;
use bytes::Bytes;
use domain::{Dialect, Fault, FaultClass, FoundTask, RunTask, TaskContents, TaskId, TaskStatus, TraceId};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use line::Core;
use runs::{TaskRequest, moment};
use serde_json::{Value, json};
use settle::ReplyBody;

use super::following::{Format, follow, seen};
use super::listing;
use super::queueing::{queue_again, store_away};
use crate::kept_content::not_deleted;
use crate::limits::RATING_MAX;
use crate::request::{refusal, sanitize};
use crate::task::Envelope;

const HOW: &str = "A task is read at /tasks/ID, its state at /status, its log at /logs and its changes at /stream; POST /cancel, \
    /retry and /rating act on it, and DELETE /tasks/ID forgets it.";
const GONE: &str =
    "Use the id of a task of this project that is not deleted; tasks are kept for a day after they end.";

/// A request about tasks.
#[derive(Debug)]
pub struct TaskCallRequest<'a> {
    pub method: &'a Method,
    /// The path below `/tasks`: an id and what is below it, or nothing.
    pub rest: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    pub trace: TraceId,
    pub received_unix_ms: u64,
}

/// The operations on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TaskOperation {
    Read,
    State,
    Logs,
    Timings,
    Follow,
    Cancel,
    Retry,
    Rate,
    Delete,
}

impl TaskOperation {
    fn of(method: &Method, below: Option<&str>) -> Option<Self> {
        match (method.as_str(), below) {
            ("GET" | "HEAD", None) => Some(Self::Read),
            ("GET" | "HEAD", Some("status")) => Some(Self::State),
            ("GET" | "HEAD", Some("logs")) => Some(Self::Logs),
            ("GET" | "HEAD", Some("timings")) => Some(Self::Timings),
            ("GET" | "HEAD", Some("stream")) => Some(Self::Follow),
            ("POST", Some("cancel")) => Some(Self::Cancel),
            ("POST", Some("retry")) => Some(Self::Retry),
            ("POST", Some("rating")) => Some(Self::Rate),
            ("DELETE", None) => Some(Self::Delete),
            _ => None,
        }
    }
}

/// Answers a request about tasks.
pub async fn task(core: &Rc<Core>, caller: &Caller, request: TaskCallRequest<'_>) -> Response<ReplyBody> {
    let trace = request.trace;
    match answer(core, caller, request).await {
        Ok(response) => {
            core.counters.answered(response.status().as_u16());
            response
        }
        Err(fault) => line::refuse(core, Dialect::Run, &fault, trace),
    }
}

fn json_response(status: StatusCode, body: Vec<u8>) -> Response<ReplyBody> {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
    settle::whole(status, headers, body.into())
}

/// A stream of a task that exists.
pub(crate) fn stream(core: &Rc<Core>, caller: &Caller, id: TaskId, format: Format) -> Response<ReplyBody> {
    let kind = HeaderValue::from_static(format.content_type());
    let quiet = HeaderValue::from_static("no-cache");
    let headers = [(CONTENT_TYPE, kind), (http::header::CACHE_CONTROL, quiet)].into_iter().collect();
    settle::streamed(StatusCode::OK, headers, follow(Rc::clone(core), caller.owner(), id, format))
}

async fn answer(
    core: &Rc<Core>,
    caller: &Caller,
    request: TaskCallRequest<'_>,
) -> Result<Response<ReplyBody>, Box<Fault>> {
    let envelope = Envelope::from_headers(request.headers);
    if let Some(query) = listing::query_of(caller, &request)? {
        let page = listing::page(core, query).await?;
        return Ok(json_response(StatusCode::OK, envelope.wrap(&page, &[])));
    }
    let (id, below) = match request.rest.split_once('/') {
        Some((id, below)) => (id, Some(below)),
        None => (request.rest, None),
    };
    let (Ok(id), Some(act)) = (id.parse::<TaskId>(), TaskOperation::of(request.method, below)) else {
        return Err(nothing_here(id, below));
    };
    let owner = caller.owner();
    let (task, contents) = found(core.tasks.find(owner, id).await, id)?;
    let ok = |document: &Value| Ok(json_response(StatusCode::OK, envelope.wrap(document, &[])));
    match act {
        TaskOperation::Read => ok(&placed(core, &task, seen(core, &task, &contents)).await),
        TaskOperation::State => ok(&runs::short(&placed(core, &task, seen(core, &task, &contents)).await)),
        TaskOperation::Logs => ok(&logs(&seen(core, &task, &contents))),
        TaskOperation::Timings => ok(&timings(&task, core.deps.world.clock.unix_ms())),
        TaskOperation::Follow => Ok(stream(core, caller, id, Format::of(request.headers))),
        TaskOperation::Cancel => {
            if task.status.has_ended() {
                return Err(finished(id));
            }
            core.live_tasks.cancel(id);
            let (task, contents) = found(core.tasks.cancel(owner, id).await, id)?;
            ok(&seen(core, &task, &contents))
        }
        TaskOperation::Retry => {
            if !task.status.has_ended() {
                return Err(not_finished(id, "made again"));
            }
            let again = TaskRequest::read(&contents).ok_or_else(content_gone)?;
            let new = (TaskId::from_uuid(*request.trace.as_uuid()), request.received_unix_ms);
            let (task, contents) = queue_again(core, caller, new, &task, again).await?;
            ok(&runs::document(&task, &contents))
        }
        TaskOperation::Rate => {
            let rating = read_rating(&request.body)?;
            if !core.tasks.rate(owner, id, rating).await {
                return Err(store_away());
            }
            ok(&runs::document(&RunTask { rating, ..task }, &contents))
        }
        TaskOperation::Delete => {
            caller.check_deletion()?;
            if !task.status.has_ended() {
                return Err(not_finished(id, "deleted"));
            }
            if core.tasks.forget(owner, id).await {
                Ok(settle::whole(StatusCode::NO_CONTENT, HeaderMap::new(), Bytes::new()))
            } else {
                Err(not_deleted("task"))
            }
        }
    }
}

fn found(found: FoundTask, id: TaskId) -> Result<(RunTask, TaskContents), Box<Fault>> {
    match found {
        FoundTask::Known(known) => Ok(*known),
        FoundTask::Unknown => Err(unknown(id)),
        FoundTask::StoreUnavailable => Err(store_away()),
    }
}

/// With its place in the queue, if it waits there.
async fn placed(core: &Core, task: &RunTask, mut document: Value) -> Value {
    if task.status != TaskStatus::Queued || document.get("status") != Some(&json!(TaskStatus::Queued.code()))
    {
        return document;
    }
    let Some(place) = core.tasks.place(task.clone()).await else { return document };
    let now = core.deps.world.clock.unix_ms();
    // Those that run now end one after the other, each making room for one.
    let begins = place.mean_ms.map(|mean| {
        let ahead = place.ahead.saturating_mul(mean) / place.running.max(1);
        task.due_unix_ms.max(now).saturating_add(ahead)
    });
    if let Some(fields) = document.as_object_mut() {
        fields.insert("queue_position".to_owned(), json!(place.ahead + 1));
        fields.insert("estimated_start_at".to_owned(), json!(begins.map(moment)));
    }
    document
}

fn logs(document: &Value) -> Value {
    let of = |name: &str| document.get(name).cloned().unwrap_or_default();
    json!({"task_id": of("id"), "status": of("status"), "events": of("events"), "logs": of("logs")})
}

/// How long a task was in each status.
fn timings(task: &RunTask, now_unix_ms: u64) -> Value {
    let end = task.ended_unix_ms.unwrap_or(now_unix_ms);
    let total = end.saturating_sub(task.created_unix_ms);
    let name = |code: u8| TaskStatus::by_code(code).map_or("unknown", TaskStatus::as_str);
    let nexts = task.events.iter().skip(1).map(Some).chain([None]);
    let events = task.events.iter().zip(nexts).map(|(event, next)| {
        let lasted = next.map(|next| next.unix_ms.saturating_sub(event.unix_ms));
        json!({
            "status": name(event.status), "timestamp": moment(event.unix_ms), "duration": lasted.map(seconds),
            "duration_ms": lasted, "next_status": next.map(|next| name(next.status)),
        })
    });
    let begin = task.events.iter().find(|event| event.status == TaskStatus::Running.code());
    let queue_end = begin.map_or(end, |event| event.unix_ms);
    let group = |label: &str, from: u64, to: Option<u64>| {
        let lasted = to.unwrap_or(now_unix_ms).saturating_sub(from);
        json!({
            "label": label, "start_at": moment(from), "end_at": to.map(moment), "duration": seconds(lasted),
            "duration_ms": lasted,
        })
    };
    let waited = group("queue", task.created_unix_ms, begin.map(|_| queue_end).or(task.ended_unix_ms));
    let ran = begin.map(|event| group("run", event.unix_ms, task.ended_unix_ms));
    let groups: Vec<_> = [waited].into_iter().chain(ran).collect();
    json!({
        "task_id": task.id.to_string(), "status": task.status.code(), "total_duration": seconds(total),
        "total_duration_ms": total, "groups": groups,
        "events": events.collect::<Vec<_>>(),
    })
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}s", ms / 1_000, ms % 1_000)
}

fn read_rating(body: &[u8]) -> Result<Option<u8>, Box<Fault>> {
    let wrong = || {
        let message = format!("\"rating\" must be a whole number from 1 to {RATING_MAX}, or null.");
        refusal("invalid_value", message, "Send {\"rating\": 5}, for example.", "rating")
    };
    let sent: Value = serde_json::from_slice(body).map_err(|_| wrong())?;
    match sent.get("rating") {
        Some(Value::Null) => Ok(None),
        Some(rating) => {
            let rating = rating.as_u64().and_then(|rating| u8::try_from(rating).ok());
            rating.filter(|rating| (1..=RATING_MAX).contains(rating)).map(Some).ok_or_else(wrong)
        }
        None => Err(wrong()),
    }
}

fn finished(id: TaskId) -> Box<Fault> {
    let message = format!("The task {id} has ended: there is nothing to cancel.");
    let fault = Fault::new(FaultClass::Conflict, "task_finished", message);
    Box::new(fault.fix("Read it at /tasks/ID, make it again, or delete it."))
}

fn not_finished(id: TaskId, what: &str) -> Box<Fault> {
    let message = format!("The task {id} has not ended, so it can't be {what}.");
    let fault = Fault::new(FaultClass::Conflict, "task_not_finished", message);
    Box::new(fault.fix("Wait until it has ended, or cancel it with POST /tasks/ID/cancel."))
}

fn content_gone() -> Box<Fault> {
    let message = "The input of this task is not stored any more, so it can't be made again.";
    Box::new(Fault::new(FaultClass::Conflict, "task_content_gone", message).fix("Send it again."))
}

fn unknown(id: TaskId) -> Box<Fault> {
    let message = format!("There is no task {id} here.");
    Box::new(Fault::new(FaultClass::NotFound, "task_not_found", message).fix(GONE))
}

fn nothing_here(id: &str, below: Option<&str>) -> Box<Fault> {
    let sanitized = sanitize(below.unwrap_or(id));
    let message = format!("\"{sanitized}\" is no task, and nothing that is done with one here.");
    Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(HOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_what_is_done() {
        for (method, below, act) in [
            ("GET", None, Some(TaskOperation::Read)),
            ("HEAD", None, Some(TaskOperation::Read)),
            ("GET", Some("status"), Some(TaskOperation::State)),
            ("GET", Some("stream"), Some(TaskOperation::Follow)),
            ("GET", Some("logs"), Some(TaskOperation::Logs)),
            ("POST", Some("cancel"), Some(TaskOperation::Cancel)),
            ("POST", Some("retry"), Some(TaskOperation::Retry)),
            ("POST", Some("rating"), Some(TaskOperation::Rate)),
            ("DELETE", None, Some(TaskOperation::Delete)),
            ("POST", None, None),
            ("GET", Some("cancel"), None),
            ("DELETE", Some("logs"), None),
        ] {
            assert_eq!(TaskOperation::of(&method.parse().unwrap(), below), act, "{method} {below:?}");
        }
    }

    #[test]
    fn a_rating_is_a_number_of_stars_or_none() {
        for (body, expected) in [
            ("{\"rating\": 1}", Some(Some(1))),
            ("{\"rating\": 5}", Some(Some(5))),
            ("{\"rating\": null}", Some(None)),
            ("{\"rating\": 0}", None),
            ("{\"rating\": 6}", None),
            ("{\"rating\": 4.5}", None),
            ("{\"rating\": \"5\"}", None),
            ("{}", None),
            ("", None),
        ] {
            let read = read_rating(body.as_bytes());
            match expected {
                Some(rating) => assert_eq!(read.unwrap(), rating, "{body}"),
                None => assert_eq!(read.unwrap_err().code, "invalid_value", "{body}"),
            }
        }
        assert_eq!(seconds(61_005), "61.005s");
    }
}

//! What is done with tasks by their addresses.

use std::rc::Rc;

use admit::Caller;
use bytes::Bytes;
use domain::{
    Dialect, Fault, FaultClass, FoundTask, ObjectOwner, RunTask, TaskContents, TaskId, TaskStatus, TraceId,
};
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use line::Core;
use runs::{TaskRequest, moment};
use serde_json::{Value, json};
use settle::ReplyBody;

use super::files::{self, Role};
use super::following::{Format, follow, seen};
use super::listing;
use super::queueing::queue_again;
use crate::answer::word;
use crate::flow_runs;
use crate::kept_content::not_deleted;
use crate::kept_content::store_away;
use crate::limits::RATING_MAX;
use crate::task::Envelope;
use runbody::{refusal, sanitize};

const HOW: &str = "A task is read at /tasks/ID, its state at /status, its log at /logs, its files at /files and its changes at /stream; \
    POST /cancel, /retry and /rating act on it, and DELETE /tasks/ID deletes it.";
const GONE: &str = "Use the id of a task of this project that is not deleted; `expires_at` of a task says how long it is kept.";

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
    Files,
    DeleteFiles,
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
            ("GET" | "HEAD", Some("files")) => Some(Self::Files),
            ("DELETE", Some("files")) => Some(Self::DeleteFiles),
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
        TaskOperation::Logs => ok(&runs::logs(&seen(core, &task, &contents))),
        TaskOperation::Timings => ok(&runs::timings(&task, core.deps.world.clock.unix_ms())),
        TaskOperation::Follow => Ok(stream(core, caller, id, Format::of(request.headers))),
        TaskOperation::Cancel => {
            if task.status.has_ended() {
                return Err(finished(id));
            }
            core.live_tasks.cancel(id);
            let (task, contents) = found(core.tasks.cancel(owner, id).await, id)?;
            flow_runs::cancel(core, owner, (id, &task.app)).await;
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
            ok(&rate(core, (owner, id), rating).await?)
        }
        TaskOperation::Delete => {
            delete(core, caller, (&task, &contents), request.query).await?;
            Ok(settle::whole(StatusCode::NO_CONTENT, HeaderMap::new(), Bytes::new()))
        }
        TaskOperation::Files => {
            let role = Role::of_query(request.query)?;
            let found = files::of_task(core, (&task, &contents), role).await?;
            let host = word(request.headers, &HOST).unwrap_or_default();
            ok(&files::listed(core, &found, &format!("http://{host}")))
        }
        TaskOperation::DeleteFiles => {
            let role = Role::of_query(request.query)?;
            check_deletable(caller, &task)?;
            let found = files::of_task(core, (&task, &contents), role).await?;
            ok(&files::delete(core, (&task, &contents), found).await?)
        }
    }
}

/// Rates a task, and reads it again: it may have gone on meanwhile.
async fn rate(
    core: &Core,
    (owner, id): (ObjectOwner, TaskId),
    rating: Option<u8>,
) -> Result<Value, Box<Fault>> {
    if !core.tasks.rate(owner, id, rating).await {
        return Err(store_away());
    }
    let (task, contents) = found(core.tasks.find(owner, id).await, id)?;
    Ok(placed(core, &task, seen(core, &task, &contents)).await)
}

fn check_deletable(caller: &Caller, task: &RunTask) -> Result<(), Box<Fault>> {
    caller.check_deletion()?;
    if task.status.has_ended() { Ok(()) } else { Err(not_finished(task.id, "deleted")) }
}

/// Deletes a task, with the files of its output, and those of its input where its client wants that.
async fn delete(
    core: &Core,
    caller: &Caller,
    (task, contents): (&RunTask, &TaskContents),
    query: &str,
) -> Result<(), Box<Fault>> {
    check_deletable(caller, task)?;
    let role = if files::are_wanted(query) { None } else { Some(Role::Output) };
    for (_, file) in files::of_task(core, (task, contents), role).await? {
        core.files.forget(task.owner, file.id).await?;
    }
    if core.tasks.forget(task.owner, task.id).await { Ok(()) } else { Err(not_deleted("task")) }
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
    Box::new(fault.fix("Read it at /tasks/ID, run it again, or delete it."))
}

fn not_finished(id: TaskId, what: &str) -> Box<Fault> {
    let message = format!("The task {id} has not ended, so it can't be {what}.");
    let fault = Fault::new(FaultClass::Conflict, "task_not_finished", message);
    Box::new(fault.fix("Wait until it has ended, or cancel it with POST /tasks/ID/cancel."))
}

fn content_gone() -> Box<Fault> {
    let message = "The input of this task is no longer stored, so the task can't run again.";
    Box::new(Fault::new(FaultClass::Conflict, "task_content_gone", message).fix("Send it again."))
}

fn unknown(id: TaskId) -> Box<Fault> {
    let message = format!("This project has no task {id}.");
    Box::new(Fault::new(FaultClass::NotFound, "task_not_found", message).fix(GONE))
}

fn nothing_here(id: &str, below: Option<&str>) -> Box<Fault> {
    let message = match below {
        Some(below) if id.parse::<TaskId>().is_ok() => {
            format!("\"{}\" isn't an action on a task with this method.", sanitize(below))
        }
        _ => format!("\"{}\" isn't an id of a task.", sanitize(id)),
    };
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
            ("GET", Some("files"), Some(TaskOperation::Files)),
            ("DELETE", Some("files"), Some(TaskOperation::DeleteFiles)),
            ("POST", Some("files"), None),
            ("POST", None, None),
            ("GET", Some("cancel"), None),
            ("DELETE", Some("logs"), None),
        ] {
            assert_eq!(TaskOperation::of(&method.parse().unwrap(), below), act, "{method} {below:?}");
        }
    }

    #[test]
    fn a_wrong_address_names_what_is_wrong_of_it() {
        let id = TaskId::from_uuid(*TraceId::new(1, [1; 10]).as_uuid()).to_string();
        for (id, below, named) in [
            ("tsk_x", None, "\"tsk_x\" isn't an id of a task."),
            ("tsk_x", Some("stream"), "\"tsk_x\" isn't an id of a task."),
            (&*id, Some("streams"), "\"streams\" isn't an action on a task with this method."),
        ] {
            assert_eq!(nothing_here(id, below).message, named);
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
    }
}

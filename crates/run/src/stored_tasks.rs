//! `/tasks`: finished tasks, stored for a day in the project that ran them, to be read, streamed and deleted.

use std::time::Duration;

use admit::Caller;
use bytes::Bytes;
use domain::limits::{KEPT_TURN_BYTES_MAX, TURN_KEPT};
use domain::ports::StoredTurn;
use domain::{Dialect, Fault, FaultClass, KeptName, TaskId, TraceId};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use line::Core;
use serde_json::{Value, json};
use settle::ReplyBody;

use crate::task::{Envelope, Message};

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
const HOW: &str =
    "A task is read at /tasks/ID, its state at /status and its end at /stream; DELETE /tasks/ID forgets it.";
const GONE: &str = "Use the id of a run of this project that ended within a day and was not deleted.";

/// Stores a finished task if the project's policy allows storing content; otherwise returns a message for the
/// client.
pub(crate) async fn keep(core: &Core, caller: &Caller, trace: TraceId, task: &Value) -> Option<Message> {
    let name = name_of(TaskId::from_uuid(*trace.as_uuid()));
    keep_as(core, caller, trace, (name, TURN_KEPT), encode_bounded(task)).await.err().map(not_kept)
}

/// Stores content under a name for a time, if the project's policy allows that; else says why it is not kept. `None` is
/// content that is too long.
pub(crate) async fn keep_as(
    core: &Core,
    caller: &Caller,
    request: TraceId,
    (name, kept_for): (String, Duration),
    content: Option<Vec<u8>>,
) -> Result<(), &'static str> {
    if caller.retains_nothing() {
        return Err("The project's policy lets nothing be kept.");
    }
    let content = content.filter(|content| content.len() <= KEPT_TURN_BYTES_MAX);
    let content = content.ok_or("It is too long to be kept.")?;
    let turn = StoredTurn {
        workspace: caller.workspace().id,
        project: caller.project().id,
        request,
        calls: vec![name],
        content,
        kept_for,
        is_awaited: true,
    };
    // The client may read it from another process at once.
    core.deps.turns.keep(turn).await;
    Ok(())
}

/// What this project stored under a name.
pub(crate) async fn find_kept(core: &Core, caller: &Caller, name: String) -> Option<Value> {
    serde_json::from_slice(&find_kept_bytes(core, caller, name).await?).ok()
}

/// The same as it is stored.
pub(crate) async fn find_kept_bytes(core: &Core, caller: &Caller, name: String) -> Option<Bytes> {
    find_all_kept(core, caller, vec![name]).await.into_iter().flatten().next()
}

/// What this project stored under each of these names.
pub(crate) async fn find_all_kept(core: &Core, caller: &Caller, names: Vec<String>) -> Vec<Option<Bytes>> {
    core.deps.turns.find(caller.workspace().id, caller.project().id, names).await
}

fn not_kept(message: &'static str) -> Message {
    Message::warning("task_not_kept", message)
}

/// Serialises the task; without its input if that makes it short enough, since the client has the input.
fn encode_bounded(task: &Value) -> Option<Vec<u8>> {
    let fits = |task: &Value| serde_json::to_vec(task).ok().filter(|text| text.len() <= KEPT_TURN_BYTES_MAX);
    fits(task).or_else(|| {
        let mut task = task.clone();
        *task.get_mut("input")? = Value::Null;
        fits(&task)
    })
}

fn name_of(id: TaskId) -> String {
    KeptName::Task.of(TraceId::from_uuid(*id.as_uuid()))
}

/// The operations on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TaskOperation {
    Read,
    State,
    Follow,
    Cancel,
    Delete,
}

impl TaskOperation {
    fn of(method: &Method, below: Option<&str>) -> Option<Self> {
        match (method.as_str(), below) {
            ("GET" | "HEAD", None) => Some(Self::Read),
            ("GET" | "HEAD", Some("status")) => Some(Self::State),
            ("GET" | "HEAD", Some("stream")) => Some(Self::Follow),
            ("POST", Some("cancel")) => Some(Self::Cancel),
            ("DELETE", None) => Some(Self::Delete),
            _ => None,
        }
    }
}

/// Answers a request about a task: `rest` is its id and the path below it.
pub async fn task(
    core: &Core,
    caller: &Caller,
    method: &Method,
    rest: &str,
    headers: &HeaderMap,
    trace: TraceId,
) -> Response<ReplyBody> {
    match answer(core, caller, method, rest, headers).await {
        Ok((status, kind, body)) => {
            let mut headers = HeaderMap::new();
            if let Some(kind) = kind {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            core.counters.answered(status.as_u16());
            settle::whole(status, headers, body)
        }
        Err(fault) => line::refuse(core, Dialect::Run, &fault, trace),
    }
}

type ResponseParts = (StatusCode, Option<&'static str>, Bytes);

async fn answer(
    core: &Core,
    caller: &Caller,
    method: &Method,
    rest: &str,
    headers: &HeaderMap,
) -> Result<ResponseParts, Box<Fault>> {
    let (id, below) = match rest.split_once('/') {
        Some((id, below)) => (id, Some(below)),
        None => (rest, None),
    };
    let (Ok(id), Some(act)) = (id.parse::<TaskId>(), TaskOperation::of(method, below)) else {
        return Err(nothing_here(id, below));
    };
    let workspace = caller.workspace().id;
    let task = find_kept(core, caller, name_of(id)).await.ok_or_else(|| unknown(id))?;
    let envelope = Envelope::from_headers(headers);
    let json = |body: Vec<u8>| Ok((StatusCode::OK, Some("application/json"), body.into()));
    match act {
        TaskOperation::Read => json(envelope.wrap(&task, &[])),
        TaskOperation::State => json(envelope.wrap(&state(&task), &[])),
        TaskOperation::Follow => Ok(snapshot(&task, headers)),
        TaskOperation::Cancel => {
            let message = format!("The task {id} has ended: there is nothing to cancel.");
            let fault = Fault::new(FaultClass::Conflict, "task_finished", message);
            Err(Box::new(fault.fix("Read it at /tasks/ID, or delete it.")))
        }
        TaskOperation::Delete => {
            caller.check_deletion()?;
            if core.deps.turns.forget(workspace, TraceId::from_uuid(*id.as_uuid())).await {
                Ok((StatusCode::NO_CONTENT, None, Bytes::new()))
            } else {
                Err(not_deleted("task"))
            }
        }
    }
}

/// The short form for polling. `status` is a word here, which clients accept as well as the number, and which
/// differs from the first status they were sent.
fn state(task: &Value) -> Value {
    let of = |name: &str| task.get(name).cloned().unwrap_or_default();
    json!({
        "id": of("id"), "short_id": of("short_id"), "status": "completed",
        "created_at": of("created_at"), "updated_at": of("updated_at"),
    })
}

/// A stream with a single snapshot, since the task has ended. The line is the bare task whatever envelope
/// other responses have: not every client unwraps one in a stream.
fn snapshot(task: &Value, headers: &HeaderMap) -> ResponseParts {
    let line = task.to_string();
    let accepted = headers.get(ACCEPT).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
    let (kind, body) = if accepted.contains(EVENTS) && !accepted.contains(LINES) {
        (EVENTS, format!("data: {line}\n\n"))
    } else {
        (LINES, format!("{line}\n"))
    };
    (StatusCode::OK, Some(kind), body.into())
}

fn unknown(id: TaskId) -> Box<Fault> {
    let message = format!("There is no task {id} here.");
    Box::new(Fault::new(FaultClass::NotFound, "task_not_found", message).fix(GONE))
}

fn nothing_here(id: &str, below: Option<&str>) -> Box<Fault> {
    let sanitized = crate::request::sanitize(below.unwrap_or(id));
    let message = format!("\"{sanitized}\" is no task, and nothing that is done with one here.");
    Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(HOW))
}

pub(crate) fn not_deleted(what: &str) -> Box<Fault> {
    let message = format!("The {what} can't be deleted now.");
    let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", message);
    Box::new(fault.fix("Send the request again in a moment.").retry_after_ms(1_000))
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
            ("POST", Some("cancel"), Some(TaskOperation::Cancel)),
            ("DELETE", None, Some(TaskOperation::Delete)),
            ("POST", None, None),
            ("GET", Some("logs"), None),
            ("DELETE", Some("files"), None),
        ] {
            assert_eq!(TaskOperation::of(&method.parse().unwrap(), below), act, "{method} {below:?}");
        }
    }

    #[test]
    fn a_long_input_is_left_out_and_a_long_output_is_not_kept() {
        let long = "x".repeat(KEPT_TURN_BYTES_MAX);
        let kept =
            |task: Value| encode_bounded(&task).map(|text| serde_json::from_slice::<Value>(&text).unwrap());
        let task = |input: &str, output: &str| json!({"input": input, "output": output});
        assert_eq!(kept(task("a", "b")), Some(task("a", "b")));
        assert_eq!(kept(task(&long, "b")), Some(json!({"input": null, "output": "b"})));
        assert_eq!(kept(task("a", &long)), None);
    }

    #[test]
    fn a_stream_is_one_snapshot_in_the_form_that_is_accepted() {
        let task = json!({"id": "tsk_1", "status": 10});
        let line = r#"{"id":"tsk_1","status":10}"#;
        for (accepted, expected) in [
            ("application/x-ndjson", (LINES, format!("{line}\n"))),
            ("*/*", (LINES, format!("{line}\n"))),
            ("text/event-stream", (EVENTS, format!("data: {line}\n\n"))),
        ] {
            let headers = [(ACCEPT, HeaderValue::from_static(accepted))].into_iter().collect();
            let (status, kind, body) = snapshot(&task, &headers);
            assert_eq!((status, kind), (StatusCode::OK, Some(expected.0)), "{accepted}");
            assert_eq!(body, expected.1);
        }
        assert_eq!(state(&task)["status"], "completed");
    }
}

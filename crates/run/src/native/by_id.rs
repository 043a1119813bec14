//! Reads, cancels and deletes an answer of `/v2/responses` by its id.

use admit::Caller;
use bytes::Bytes;
use domain::{Dialect, Fault, FaultClass, ResponseId, TraceId};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use line::Core;
use serde_json::Value;
use settle::ReplyBody;

use super::background;
use super::stored::{Part, find_named};
use crate::kept_content::not_deleted;

const GONE: &str =
    "Use the id of an answer of this project that was made within a day, stored, and not deleted.";
const HOW: &str = "An answer is read at /v2/responses/ID; DELETE /v2/responses/ID deletes it.";

/// Answers a request about a stored answer: `rest` is its id and the path below it.
pub async fn response(
    core: &Core,
    caller: &Caller,
    method: &Method,
    rest: &str,
    trace: TraceId,
) -> Response<ReplyBody> {
    match answer(core, caller, method, rest).await {
        Ok((status, body)) => {
            let mut headers = HeaderMap::new();
            if !body.is_empty() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            core.counters.answered(status.as_u16());
            settle::whole(status, headers, body)
        }
        Err(fault) => line::refuse(core, Dialect::Native, &fault, trace),
    }
}

async fn answer(
    core: &Core,
    caller: &Caller,
    method: &Method,
    rest: &str,
) -> Result<(StatusCode, Bytes), Box<Fault>> {
    let (id, below) = match rest.split_once('/') {
        Some((id, below)) => (id, Some(below)),
        None => (rest, None),
    };
    let Ok(id) = id.parse::<ResponseId>() else { return Err(unknown(id)) };
    let Some(found) = find_named(core, caller, id, Part::Answer).await else {
        let started = find_named(core, caller, id, Part::Started).await.ok_or_else(|| unknown(&id.text()))?;
        return unfinished(core, caller, id, started, (method, below)).await;
    };
    match (method.as_str(), below) {
        ("GET" | "HEAD", None) => Ok((StatusCode::OK, found.to_string().into())),
        ("POST", Some("cancel")) => {
            let message = format!("The answer {id} is complete: there is nothing to cancel.");
            let fault = Fault::new(FaultClass::Conflict, "response_finished", message);
            let fix = "Read it at /v2/responses/ID, or delete it. A request that still runs ends when its client leaves.";
            Err(Box::new(fault.fix(fix)))
        }
        ("DELETE", None) => forget(core, caller, id).await,
        _ => Err(nothing_done()),
    }
}

/// Answers a request about an answer that is made in the background.
async fn unfinished(
    core: &Core,
    caller: &Caller,
    id: ResponseId,
    started: Value,
    (method, below): (&Method, Option<&str>),
) -> Result<(StatusCode, Bytes), Box<Fault>> {
    let is_given_up = background::is_given_up(core, &started);
    match (method.as_str(), below) {
        ("GET" | "HEAD", None) => {
            Ok((StatusCode::OK, background::pending(core, id, started).to_string().into()))
        }
        ("POST", Some("cancel")) => {
            let answer = background::cancel(core, caller, id, started).await;
            Ok((StatusCode::OK, answer.to_string().into()))
        }
        ("DELETE", None) if is_given_up => forget(core, caller, id).await,
        ("DELETE", None) => Err(background::still_running(id)),
        _ => Err(nothing_done()),
    }
}

async fn forget(core: &Core, caller: &Caller, id: ResponseId) -> Result<(StatusCode, Bytes), Box<Fault>> {
    caller.check_deletion()?;
    let request = TraceId::from_uuid(*id.as_uuid());
    if core.deps.turns.forget(caller.workspace().id, request).await {
        Ok((StatusCode::NO_CONTENT, Bytes::new()))
    } else {
        Err(not_deleted("answer"))
    }
}

fn nothing_done() -> Box<Fault> {
    let message = "This action on an answer doesn't exist.";
    Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(HOW))
}

fn unknown(id: &str) -> Box<Fault> {
    let message = format!("This project has no answer \"{}\".", runbody::sanitize(id));
    Box::new(Fault::new(FaultClass::NotFound, "response_not_found", message).fix(GONE))
}

//! What is done with an answer of `/v2/responses` afterwards: it is stored for a day in the project that asked.

use admit::Caller;
use bytes::Bytes;
use domain::{Dialect, Fault, FaultClass, ResponseId, TraceId};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use line::Core;
use serde_json::Value;
use settle::ReplyBody;

use crate::stored_tasks::{find_kept, keep_as, not_deleted};

/// Prefix of their names. No tool call id starts with it; both share one store.
const NAMED: &str = "response:";
const GONE: &str =
    "Use the id of an answer of this project that was made within a day, stored, and not deleted.";
const HOW: &str = "An answer is read at /v2/responses/ID; DELETE /v2/responses/ID forgets it.";

fn name_of(id: ResponseId) -> String {
    format!("{NAMED}{id}")
}

/// Stores an answer; `false` where the project's policy forbids it, or it is too long.
pub(super) async fn keep(core: &Core, caller: &Caller, id: ResponseId, answer: &Value) -> bool {
    let content = serde_json::to_vec(answer).ok();
    let request = TraceId::from_uuid(*id.as_uuid());
    keep_as(core, caller, request, name_of(id), content).await.is_ok()
}

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
    let found = find_kept(core, caller, name_of(id)).await.ok_or_else(|| unknown(&id.text()))?;
    match (method.as_str(), below) {
        ("GET" | "HEAD", None) => Ok((StatusCode::OK, found.to_string().into())),
        ("POST", Some("cancel")) => {
            let message = format!("The answer {id} is complete: there is nothing to cancel.");
            let fault = Fault::new(FaultClass::Conflict, "response_finished", message);
            let fix = "Read it at /v2/responses/ID, or delete it. A request that still runs ends when its client leaves.";
            Err(Box::new(fault.fix(fix)))
        }
        ("DELETE", None) => {
            let request = TraceId::from_uuid(*id.as_uuid());
            if core.deps.turns.forget(caller.workspace().id, request).await {
                Ok((StatusCode::NO_CONTENT, Bytes::new()))
            } else {
                Err(not_deleted("answer"))
            }
        }
        _ => {
            let message = "That is nothing that is done with an answer here.";
            Err(Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(HOW)))
        }
    }
}

fn unknown(id: &str) -> Box<Fault> {
    let message = format!("There is no answer \"{}\" here.", crate::request::sanitize(id));
    Box::new(Fault::new(FaultClass::NotFound, "response_not_found", message).fix(GONE))
}

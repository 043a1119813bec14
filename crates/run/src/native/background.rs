//! Answers in the background: the client gets an id at once, and asks for the answer by it. The request runs on the core
//! that took it. What is stored says that it was begun, that it is to be cancelled, and how it ended; each under a name of
//! its own, since what is stored never changes.

use std::rc::Rc;
use std::time::Duration;

use admit::Caller;
use decode::Inbound;
use domain::limits::DEADLINE;
use domain::{Fault, FaultClass, ResponseId};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use line::{Core, Running};
use serde_json::{Value, json};
use settle::ReplyBody;

use super::outcome::Outcome;
use super::request::Requested;
use super::stored;
use crate::answer_stream::document_of;
use crate::background::{self, Slot, until_cancelled};
use crate::limits::BACKGROUND_GRACE;

/// Answers with the id, and goes on with the request.
pub(super) async fn begin(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: Caller,
    requested: Requested,
    id: ResponseId,
) -> Result<Response<ReplyBody>, Box<Fault>> {
    let slot = Slot::take(core)?;
    let started_unix_ms = inbound.received_unix_ms;
    let deadline_ms = requested.qos.deadline_ms.unwrap_or(u64::MAX).min(millis(DEADLINE));
    let marker = json!({
        "id": id.to_string(), "object": "response", "created_at": started_unix_ms / 1_000, "status": "queued",
        "background": true, "execution_profile": null, "qos_outcome": Outcome::queued(), "stored": true,
        "given_up_unix_ms": started_unix_ms.saturating_add(deadline_ms).saturating_add(millis(BACKGROUND_GRACE)),
    });
    if !stored::keep_named(core, &caller, id, stored::Part::Started, &marker).await {
        return Err(nothing_kept(&caller));
    }
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    requested.name_dropped(&mut headers);
    let place = (slot, core.background.begin(id));
    tasks::spawn_on_core(run(Rc::clone(core), inbound, caller, requested, id, place));
    core.counters.answered(StatusCode::ACCEPTED.as_u16());
    Ok(settle::whole(StatusCode::ACCEPTED, headers, without_marks(marker).to_string().into()))
}

async fn run(
    core: Rc<Core>,
    inbound: Inbound,
    caller: Caller,
    requested: Requested,
    id: ResponseId,
    (_slot, running): (Slot, Running),
) {
    let received_us = inbound.received_us;
    let elapsed_ms = || core.deps.world.clock.monotonic_us().saturating_sub(received_us) / 1_000;
    let answering = super::serve(&core, inbound, caller.clone(), &requested, id);
    let is_cancelled =
        async || stored::find_named(&core, &caller, id, stored::Part::Cancelled).await.is_some();
    let answer = until_cancelled(&running, answering, is_cancelled).await;
    let answer = match answer {
        Some(response) => whole(id, response).await,
        None => ended(id, "cancelled", &Outcome::cancelled(requested.qos, elapsed_ms()), None),
    };
    if !stored::keep_named(&core, &caller, id, stored::Part::Answer, &answer).await {
        let error = json!({"code": "response_not_stored", "message": "The answer is too long to be stored."});
        let outcome = answer.get("qos_outcome").cloned().unwrap_or_default();
        let failed = ended(id, "failed", &outcome, Some(&error));
        stored::keep_named(&core, &caller, id, stored::Part::Answer, &failed).await;
    }
}

/// The response object: the answer, or what became of it.
async fn whole(id: ResponseId, response: Response<ReplyBody>) -> Value {
    let is_answer = response.status() == StatusCode::OK;
    let body = document_of(response).await;
    if is_answer {
        let mut body = body;
        if let Some(answer) = body.as_object_mut() {
            answer.insert("background".to_owned(), json!(true));
            answer.insert("stored".to_owned(), json!(true));
        }
        return body;
    }
    let of = |name: &str| body.get(name).cloned().unwrap_or_default();
    let error = json!({"code": of("code"), "message": of("detail")});
    let mut failed = ended(id, "failed", &of("qos_outcome"), Some(&error));
    if let Some(fields) = failed.as_object_mut() {
        fields.insert("execution_profile".to_owned(), of("execution_profile"));
    }
    failed
}

fn ended(id: ResponseId, status: &str, outcome: &impl serde::Serialize, error: Option<&Value>) -> Value {
    json!({
        "id": id.to_string(), "object": "response", "status": status, "background": true, "output": [],
        "error": error, "execution_profile": null, "qos_outcome": outcome, "stored": true,
    })
}

/// What a client reads of an answer that is not there yet, or never will be.
pub(super) fn pending(core: &Core, id: ResponseId, marker: Value) -> Value {
    if !is_given_up(core, &marker) {
        return without_marks(marker);
    }
    let code = "interrupted";
    let message = "The gateway that made the answer ended before it was complete.";
    let outcome = Outcome::interrupted(code);
    ended(id, "failed", &outcome, Some(&json!({"code": code, "message": message})))
}

/// Whether an answer that is not there was to be complete long ago.
pub(super) fn is_given_up(core: &Core, marker: &Value) -> bool {
    let given_up = marker.get("given_up_unix_ms").and_then(Value::as_u64).unwrap_or_default();
    core.deps.world.clock.unix_ms() >= given_up
}

fn without_marks(mut marker: Value) -> Value {
    if let Some(fields) = marker.as_object_mut() {
        fields.remove("given_up_unix_ms");
    }
    marker
}

/// Cancels an answer. What it then is.
pub(super) async fn cancel(core: &Core, caller: &Caller, id: ResponseId, marker: Value) -> Value {
    let note = async || {
        let cancel = json!({"id": id.to_string()});
        stored::keep_named(core, caller, id, stored::Part::Cancelled, &cancel).await;
    };
    let find = async || stored::find_named(core, caller, id, stored::Part::Answer).await;
    match background::cancel(core, id, note, find).await {
        Some(answer) => answer,
        None => pending(core, id, marker),
    }
}

/// Why an answer that is not complete is not deleted.
pub(super) fn still_running(id: ResponseId) -> Box<Fault> {
    let message = format!("The answer {id} is not complete yet.");
    let fault = Fault::new(FaultClass::Conflict, "response_running", message);
    Box::new(fault.fix("Cancel it first: POST /v2/responses/ID/cancel."))
}

/// Where nothing may be kept, a client that leaves gets no answer.
fn nothing_kept(caller: &Caller) -> Box<Fault> {
    let policies = caller.project().policy.as_ref();
    let kept = "a background answer is stored for its client";
    let refused = policies.and_then(|policies| policies.refuse_to_keep(kept, "Leave \"background\" out."));
    Box::new(refused.map_or_else(Fault::internal, |fault| fault.param("background")))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

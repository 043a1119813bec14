//! Answers in the background where no provider makes them: the gateway does, and the client asks for them by their id.

use std::rc::Rc;
use std::time::Duration;

use admit::Caller;
use bytes::Bytes;
use decode::Inbound;
use domain::limits::DEADLINE;
use domain::{Fault, FaultClass, KeptName, ResponseId, TraceId};
use http::StatusCode;
use line::{Core, Running};
use serde_json::{Map, Value, json};

use super::ids::id_of;
use super::kept::KEPT_FOR;
use super::making::{self, Made};
use super::taken::{Taken, answered, left};
use crate::answer_stream::document_of;
use crate::background::{self, Slot, until_cancelled};
use crate::kept_content::{find_kept, keep_as};
use crate::limits::BACKGROUND_GRACE;
use crate::state_fields::StateFields;
use runbody::refusal;

/// A record stored while an answer is pending, or once it ended without content. Each has its own name, since stored content
/// never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Started,
    Cancelled,
    /// It ended without an answer.
    Ended,
}

impl Mark {
    fn name(self, request: TraceId) -> String {
        let mark = match self {
            Self::Started => KeptName::STARTED,
            Self::Cancelled => KeptName::CANCELLED,
            Self::Ended => KeptName::ENDED,
        };
        KeptName::Mark(mark).of(request)
    }

    async fn keep(self, core: &Core, caller: &Caller, request: TraceId, content: &Value) -> bool {
        let content = serde_json::to_vec(content).ok();
        keep_as(core, caller, request, (self.name(request), KEPT_FOR), content).await.is_ok()
    }

    async fn find(self, core: &Core, caller: &Caller, request: TraceId) -> Option<Value> {
        find_kept(core, caller, self.name(request)).await
    }
}

/// Makes the answer here, unless a provider makes it in the background itself, or nothing can make it.
pub(super) async fn take(
    core: &Rc<Core>,
    mut inbound: Inbound,
    caller: Caller,
    made: Made,
) -> Result<Taken, Box<Fault>> {
    let Some(body) = made_here(core, &inbound, &caller, made.session.is_some()).await else {
        return Ok(left(inbound, caller));
    };
    inbound.body = body;
    if StateFields::read(&inbound.body).is_some_and(|fields| fields.streams) {
        return Err(streamed());
    }
    if !made.keeps {
        return Err(nothing_kept());
    }
    begin(core, inbound, caller, Made { is_background: true, ..made }).await
}

/// The body of the request whose answer the gateway makes; `None` where a provider makes it in the background, or nobody: what
/// would be refused anyhow is refused as it was sent.
pub(super) async fn made_here(
    core: &Core,
    inbound: &Inbound,
    caller: &Caller,
    is_in_session: bool,
) -> Option<Bytes> {
    // A session's new events are appended here, after the answer.
    if caller.retains_nothing() || (!is_in_session && is_served(core, inbound, caller).await) {
        return None;
    }
    let body = StateFields::in_foreground(&inbound.body)?;
    let foreground = inbound.with_body(body);
    is_served(core, &foreground, caller).await.then_some(foreground.body)
}

/// Whether a plan for the request has somebody who serves it as it is.
async fn is_served(core: &Core, inbound: &Inbound, caller: &Caller) -> bool {
    let environment = std::sync::Arc::clone(caller.environment());
    let explained =
        line::explain(core, inbound.with_body(inbound.body.clone()), caller.clone(), &environment).await;
    let Some(plan) = explained.plan.filter(|_| explained.refusal.is_none()) else { return false };
    plan.explanation.fault.is_none() && plan.attempts.first().is_some_and(|first| first.refusal.is_none())
}

/// Answers with the id, and goes on with the request.
async fn begin(core: &Rc<Core>, inbound: Inbound, caller: Caller, made: Made) -> Result<Taken, Box<Fault>> {
    let slot = Slot::take(core)?;
    let started_unix_ms = inbound.received_unix_ms;
    let mut marker = pending_of(&made, &inbound.body, started_unix_ms);
    let given_up = started_unix_ms.saturating_add(millis(DEADLINE)).saturating_add(millis(BACKGROUND_GRACE));
    marker.insert("given_up_unix_ms".to_owned(), json!(given_up));
    let marker = Value::Object(marker);
    if !Mark::Started.keep(core, &caller, made.request, &marker).await {
        return Err(nothing_kept());
    }
    let place = (slot, core.background.begin(ResponseId::from_uuid(*made.request.as_uuid())));
    let (trace, view) = (inbound.trace, without_marks(marker.clone()));
    tasks::spawn_on_core(run(Rc::clone(core), inbound, caller, made, marker, place));
    Ok(answered(core, trace, view.to_string()))
}

/// The response while it is made, as a provider shows it.
fn pending_of(made: &Made, body: &Bytes, started_unix_ms: u64) -> Map<String, Value> {
    let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let field = |name: &str, usual: Value| fields.get(name).cloned().unwrap_or(usual);
    let pending = json!({
        "id": id_of(made.request), "object": "response", "created_at": started_unix_ms / 1_000, "status": "queued",
        "background": true, "error": null, "incomplete_details": null,
        "instructions": field("instructions", Value::Null), "max_output_tokens": field("max_output_tokens", Value::Null),
        "model": field("model", Value::Null), "output": [],
        "parallel_tool_calls": field("parallel_tool_calls", json!(true)), "previous_response_id": null,
        "reasoning": field("reasoning", json!({"effort": null, "summary": null})), "store": true,
        "temperature": field("temperature", Value::Null),
        "text": field("text", json!({"format": {"type": "text"}})), "tool_choice": field("tool_choice", json!("auto")),
        "tools": field("tools", json!([])), "top_p": field("top_p", Value::Null),
        "truncation": field("truncation", json!("disabled")), "usage": null, "metadata": field("metadata", json!({})),
    });
    let Value::Object(mut pending) = pending else { return Map::new() };
    made.describe(&mut pending, true);
    pending
}

async fn run(
    core: Rc<Core>,
    inbound: Inbound,
    caller: Caller,
    made: Made,
    marker: Value,
    (_slot, running): (Slot, Running),
) {
    let request = made.request;
    let answering = making::serve(&core, inbound, caller.clone(), made.clone());
    let is_cancelled = async || Mark::Cancelled.find(&core, &caller, request).await.is_some();
    let ended = match until_cancelled(&running, answering, is_cancelled).await {
        Some(response) if response.status() == StatusCode::OK => {
            if document_of(response).await.get("store") == Some(&json!(true)) {
                return;
            }
            failed(marker, "response_not_stored", "The answer is too long to be stored.")
        }
        Some(response) => {
            let body = document_of(response).await;
            let field = |name: &str| {
                body.pointer(&format!("/error/{name}")).and_then(Value::as_str).unwrap_or_default()
            };
            failed(marker, field("code"), field("message"))
        }
        None => with_status(marker, "cancelled"),
    };
    Mark::Ended.keep(&core, &caller, request, &ended).await;
}

fn with_status(marker: Value, status: &str) -> Value {
    let mut ended = without_marks(marker);
    if let Some(fields) = ended.as_object_mut() {
        fields.insert("status".to_owned(), json!(status));
    }
    ended
}

fn failed(marker: Value, code: &str, message: &str) -> Value {
    let mut ended = with_status(marker, "failed");
    if let Some(fields) = ended.as_object_mut() {
        fields.insert("error".to_owned(), json!({"code": code, "message": message}));
    }
    ended
}

fn without_marks(mut marker: Value) -> Value {
    if let Some(fields) = marker.as_object_mut() {
        fields.remove("given_up_unix_ms");
    }
    marker
}

/// An answer that was begun in the background, and is not there.
pub(super) struct Pending {
    /// What its client reads of it.
    pub response: Value,
    /// It may still come.
    pub is_open: bool,
}

/// What became of an answer in the background that is not kept; `None` of one that was not begun.
pub(super) async fn find(core: &Core, caller: &Caller, request: TraceId) -> Option<Pending> {
    let marker = Mark::Started.find(core, caller, request).await?;
    if let Some(response) = Mark::Ended.find(core, caller, request).await {
        return Some(Pending { response, is_open: false });
    }
    let given_up = marker.get("given_up_unix_ms").and_then(Value::as_u64).unwrap_or_default();
    Some(if core.deps.world.clock.unix_ms() < given_up {
        Pending { response: without_marks(marker), is_open: true }
    } else {
        let message = "The gateway that made the answer ended before it was complete.";
        Pending { response: failed(marker, "interrupted", message), is_open: false }
    })
}

/// Cancels an answer, and waits a moment for its end.
pub(super) async fn cancel(core: &Core, caller: &Caller, request: TraceId) {
    let note = async || {
        Mark::Cancelled.keep(core, caller, request, &json!({})).await;
    };
    let find = async || match super::kept::find(core, caller, &id_of(request)).await {
        Some(_) => Some(()),
        None => Mark::Ended.find(core, caller, request).await.map(drop),
    };
    let id = ResponseId::from_uuid(*request.as_uuid());
    let _ = background::cancel(core, id, note, find).await;
}

fn streamed() -> Box<Fault> {
    let message =
        "An answer that the gateway makes in the background is read by its id and can't be streamed.";
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_field", message);
    Box::new(fault.param("stream").fix("Leave \"stream\" or \"background\" out."))
}

/// Where nothing is kept, a client that leaves gets no answer.
fn nothing_kept() -> Box<Fault> {
    let message = "A background answer must be stored for its client, but \"store\" is false.";
    refusal("invalid_value", message, "Leave \"store\" or \"background\" out.", "store")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

//! The requests of batches that the gateway works through, and those that are replayed: each goes through all stages, like one
//! that its client sends.

use std::rc::Rc;

use admit::Caller;
use bytes::Bytes;
use conversation::request::Addressed;
use decode::Inbound;
use domain::{Dialect, Fault, FaultClass, KeyId, ObjectOwner, Operation, Principal, SideCall, TraceId};
use http::Response;
use http_body_util::BodyExt as _;
use serde_json::json;
use settle::ReplyBody;

use crate::limits::BATCH_ITEM_TIME_MAX;
use crate::stop::EarlyExit;
use crate::{Core, concluded, kept_headers, run_pipeline};

/// How long an item waits whose gateway is behind, or whose limits don't say when there is room.
const WAIT_MS: u64 = 1_000;

/// One request of a batch, or of a replay.
#[derive(Debug, Clone)]
pub struct ItemCall {
    pub owner: ObjectOwner,
    /// The key that pays for it.
    pub key: Option<KeyId>,
    /// The only seat that may serve it: the candidate of a replay.
    pub seat: Option<Principal>,
    pub dialect: Dialect,
    pub operation: Operation,
    /// The id of its exchange: the same whoever makes it, and however often it is begun.
    pub trace: TraceId,
    /// What it is made for: the request that made its batch, or the one that is replayed.
    pub side_call: SideCall,
    pub headers: Vec<(String, String)>,
    pub addressed: Option<Addressed>,
    pub body: Bytes,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemAnswer {
    Succeeded {
        body: Bytes,
        status: u16,
    },
    /// The error in its dialect.
    Failed {
        error: Bytes,
        status: u16,
        /// Another try may go better.
        may_retry: bool,
    },
    /// It was not begun, and nothing is booked.
    Postponed {
        wait_ms: u64,
    },
}

/// Makes one such request, as its key.
pub async fn serve_item(core: &Rc<Core>, item: ItemCall) -> ItemAnswer {
    if core.background.is_pressed(core.now_us()) {
        return ItemAnswer::Postponed { wait_ms: WAIT_MS };
    }
    let (dialect, trace) = (item.dialect, item.trace);
    let snapshot = core.snapshot.current();
    let caller = match admit::on_behalf(snapshot, item.owner, item.key, item.side_call, core.now_unix_ms()) {
        Ok(caller) => caller.tried_at(item.seat),
        Err(fault) => return failed(&fault, dialect, trace, false),
    };
    let serving = answer(core, inbound(core, item), caller);
    match tokio::time::timeout(BATCH_ITEM_TIME_MAX, serving).await {
        Ok(answer) => answer,
        // The exchange was dropped, which books what it used.
        Err(_) => failed(&too_slow(), dialect, trace, false),
    }
}

fn inbound(core: &Core, item: ItemCall) -> Inbound {
    let world = &core.deps.world;
    let mut headers = kept_headers::of_kept(item.headers);
    // Nobody waits for it; hints of its client's own say otherwise.
    decode::state_qos(&mut headers, &json!({"class": "batch"}));
    Inbound {
        trace: item.trace,
        dialect: item.dialect,
        operation: item.operation,
        headers,
        addressed: item.addressed.map(Box::new),
        body: item.body,
        form: None,
        received_us: world.clock.monotonic_us(),
        received_unix_ms: world.clock.unix_ms(),
    }
}

async fn answer(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> ItemAnswer {
    let (trace, dialect) = (inbound.trace, inbound.dialect);
    let (response, may_retry) = match serve_postponable(core, inbound, caller).await {
        Postponable::Postponed { wait_ms } => return ItemAnswer::Postponed { wait_ms },
        Postponable::Answered { response, may_retry } => (response, may_retry),
    };
    let (is_answered, status) = (response.status().is_success(), response.status().as_u16());
    match response.into_body().collect().await {
        Ok(body) if is_answered => ItemAnswer::Succeeded { body: body.to_bytes(), status },
        Ok(body) => ItemAnswer::Failed { error: body.to_bytes(), status, may_retry },
        Err(_) => failed(&broken(), dialect, trace, true),
    }
}

/// A request that nobody waits for: it may be made later.
#[derive(Debug)]
pub enum Postponable {
    Answered {
        response: Box<Response<ReplyBody>>,
        /// Another try may go better than this one, which failed.
        may_retry: bool,
    },
    /// It was not begun, and nothing is booked.
    Postponed { wait_ms: u64 },
}

/// Serves a request, unless a limit has no room for it now.
pub async fn serve_postponable(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Postponable {
    let (trace, dialect) = (inbound.trace, inbound.dialect);
    // Boxed: it is as large as the future of a client's request.
    let result = Box::pin(run_pipeline(core, inbound, caller)).await;
    let may_retry = match &result {
        Err(EarlyExit::RateLimited(bounded)) if waits(bounded.0.class) => {
            return Postponable::Postponed { wait_ms: bounded.0.retry_after_ms.unwrap_or(WAIT_MS) };
        }
        Err(exit) => is_worth_retrying(&exit.fault()),
        Ok(_) => false,
    };
    Postponable::Answered { response: Box::new(concluded(core, dialect, trace, result)), may_retry }
}

/// Whether there is room later for what a limit refuses now. Money that is spent is not there again soon.
const fn waits(class: FaultClass) -> bool {
    matches!(class, FaultClass::Limited | FaultClass::Unavailable)
}

fn is_worth_retrying(fault: &Fault) -> bool {
    let is_of_upstream = matches!(
        fault.class,
        FaultClass::RateLimit
            | FaultClass::Overloaded
            | FaultClass::Timeout
            | FaultClass::Upstream
            | FaultClass::StreamBroken
            | FaultClass::Unavailable
            | FaultClass::Limited
    );
    fault.should_retry.unwrap_or(is_of_upstream)
}

fn failed(fault: &Fault, dialect: Dialect, trace: TraceId, may_retry: bool) -> ItemAnswer {
    let rendered = dialects::render_error(fault, dialect, trace);
    ItemAnswer::Failed { error: rendered.body, status: rendered.status, may_retry }
}

fn too_slow() -> Fault {
    let seconds = BATCH_ITEM_TIME_MAX.as_secs();
    let message = format!(
        "The request was not answered within {seconds} s, the longest time that a request of a batch may take."
    );
    Fault::new(FaultClass::Deadline, "deadline_exceeded", message).fix("Ask for less output.")
}

fn broken() -> Fault {
    Fault::new(FaultClass::StreamBroken, "upstream_answer_broken", "The answer broke off.")
}

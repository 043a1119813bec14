//! `/v2/responses`: one model answer under a stated quality of service, with its outcome. It is one pass through the
//! pipeline, as `/v1/responses` is.

mod background;
mod by_id;
mod outcome;
mod request;
mod stored;
mod stream;

use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::{Dialect, Fault, Operation, ResponseId, TraceId};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use line::Core;
use serde_json::{Map, Value, json};
use settle::ReplyBody;

use self::outcome::{Outcome, describe};
use self::request::Requested;
use self::stored::Part;
use self::stream::Streamed;
use crate::answer::{PROFILE, word};
use crate::answer_stream::{AnswerEditor, is_stream};
use crate::compaction;
use crate::problem;
use crate::session_turn::{self, SessionTurn};
use crate::state_fields::StateFields;
use crate::truncation;

pub use by_id::response;

/// Answers `POST /v2/responses`. The body is already read.
pub async fn respond(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<ReplyBody> {
    let (trace, mut inbound) = (inbound.trace, inbound);
    let requested = match continued(core, &caller, &mut inbound).await {
        Ok(requested) => requested,
        Err(fault) => return line::refuse(core, Dialect::Native, &fault, trace),
    };
    let dropped_items = truncation::truncate(core, &mut inbound, &caller).await;
    let id = ResponseId::from_uuid(*trace.as_uuid());
    if requested.is_background {
        let started = Box::pin(background::begin(core, inbound, caller, requested, id)).await;
        return started.unwrap_or_else(|fault| line::refuse(core, Dialect::Native, &fault, trace));
    }
    let mut response = serve(core, inbound, caller, &requested, id).await;
    requested.name_dropped(response.headers_mut());
    truncation::name_dropped(response.headers_mut(), dropped_items);
    response
}

/// Reads a request. Of one that continues a session, the body begins with what was said before.
async fn continued(core: &Core, caller: &Caller, inbound: &mut Inbound) -> Result<Requested, Box<Fault>> {
    let mut requested = request::read(inbound)?;
    // Whatever is wrong with the body, the pipeline says.
    if let Some(named) = requested.named
        && let Some(fields) = StateFields::read(&inbound.body)
    {
        let (to, history) = session_turn::continued(core, caller, inbound, named).await?;
        let input = fields.input_items(&inbound.body);
        inbound.body = fields.continuing(&inbound.body, &history, &input)?;
        requested.turn = Some(SessionTurn { to, input });
    }
    compaction::open_in(core, caller, inbound)?;
    Ok(requested)
}

/// Serves a request that was read, with the outcome in its answer.
async fn serve(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: Caller,
    requested: &Requested,
    id: ResponseId,
) -> Response<ReplyBody> {
    let received_us = inbound.received_us;
    let inbound = Inbound { dialect: Dialect::Native, operation: Operation::Chat, ..inbound };
    let response = line::serve(core, inbound, caller.clone()).await;
    let elapsed_ms = || core.deps.world.clock.monotonic_us().saturating_sub(received_us) / 1_000;
    if response.status() != StatusCode::OK {
        return failed(requested, response, elapsed_ms()).await;
    }
    if !is_stream(response.headers()) {
        return answered(core, &caller, requested, id, response, elapsed_ms()).await;
    }
    let headers = response.headers().clone();
    let (core, qos, ttft_ms) = (Rc::clone(core), requested.qos, None);
    let turn = requested.turn.clone();
    let streamed = Streamed { core, caller, id, qos, turn, headers, received_us, ttft_ms };
    response.map(|body| body.edited(Box::new(AnswerEditor::new(streamed))))
}

/// The model's answer with what it was served by and how well. It was complete before it was returned.
async fn answered(
    core: &Core,
    caller: &Caller,
    requested: &Requested,
    id: ResponseId,
    response: Response<ReplyBody>,
    ttft_ms: u64,
) -> Response<ReplyBody> {
    let (head, body) = response.into_parts();
    let mut headers = head.headers;
    let read = body.collect().await.ok().map(http_body_util::Collected::to_bytes);
    let answer = read.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(Value::Object(mut answer)) = answer else {
        let fault = Fault::internal();
        return line::refuse(core, Dialect::Native, &fault, TraceId::from_uuid(*id.as_uuid()));
    };
    let outcome = Outcome::answered(requested.qos, &headers, (ttft_ms, ttft_ms));
    describe(&mut answer, id, &headers, &outcome, true);
    let is_appended = append(core, caller, id, requested.turn.as_ref(), &mut answer).await;
    let mut answer = Value::Object(answer);
    let is_stored =
        requested.is_background || stored::keep_named(core, caller, id, Part::Answer, &answer).await;
    if !(is_appended && is_stored)
        && let Some(fields) = answer.as_object_mut()
    {
        fields.insert("stored".to_owned(), json!(false));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    settle::whole(StatusCode::OK, headers, answer.to_string().into())
}

/// Appends what was turn to the session that the request continues, and names that in the answer.
async fn append(
    core: &Core,
    caller: &Caller,
    id: ResponseId,
    turn: Option<&SessionTurn>,
    answer: &mut Map<String, Value>,
) -> bool {
    let Some(turn) = turn else { return true };
    name_session(answer, turn);
    let request = TraceId::from_uuid(*id.as_uuid());
    session_turn::append(core, caller, (request, turn.to), &turn.input, answer).await
}

fn name_session(answer: &mut Map<String, Value>, turn: &SessionTurn) {
    answer.insert("session_id".to_owned(), json!(turn.to.session.to_string()));
    answer.insert("branch_id".to_owned(), json!(turn.to.branch.to_string()));
}

async fn failed(
    requested: &Requested,
    response: Response<ReplyBody>,
    latency_ms: u64,
) -> Response<ReplyBody> {
    let headers = response.headers().clone();
    problem::edit_problem(response, |problem| {
        let code = problem.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
        let outcome = Outcome::failed(requested.qos, &headers, &code, latency_ms);
        problem.insert("execution_profile".to_owned(), json!(word(&headers, &PROFILE)));
        problem.insert("qos_outcome".to_owned(), json!(outcome));
    })
    .await
}

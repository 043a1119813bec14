//! `/v2/responses`: one model answer under a stated quality of service, with its outcome. It is one pass through the
//! pipeline, as `/v1/responses` is.

mod outcome;
mod request;
mod stored;

use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::{Dialect, Fault, Operation, ResponseId};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use line::Core;
use serde_json::{Value, json};
use settle::ReplyBody;

use self::outcome::Outcome;
use self::request::Requested;
use crate::problem;

pub use stored::response;

const DROPPED: HeaderName = HeaderName::from_static("agent-dropped-params");
const PROFILE: HeaderName = HeaderName::from_static("agent-execution-profile");

/// Answers `POST /v2/responses`. The body is already read.
pub async fn respond(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<ReplyBody> {
    let (trace, received_us) = (inbound.trace, inbound.received_us);
    let mut inbound = inbound;
    let requested = match request::read(&mut inbound) {
        Ok(requested) => requested,
        Err(fault) => return line::refuse(core, Dialect::Native, &fault, trace),
    };
    let inbound = Inbound { dialect: Dialect::Native, operation: Operation::Chat, ..inbound };
    let response = line::serve(core, inbound, caller.clone()).await;
    let elapsed_ms = || core.deps.world.clock.monotonic_us().saturating_sub(received_us) / 1_000;
    let head_ms = elapsed_ms();
    let mut response = if response.status() == StatusCode::OK {
        answered(core, &caller, &requested, ResponseId::from_uuid(*trace.as_uuid()), response, head_ms).await
    } else {
        failed(&requested, response, elapsed_ms()).await
    };
    requested.name_dropped(response.headers_mut());
    response
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
        return line::refuse(core, Dialect::Native, &fault, domain::TraceId::from_uuid(*id.as_uuid()));
    };
    let outcome = Outcome::answered(requested.qos, &headers, ttft_ms);
    answer.insert("id".to_owned(), json!(id.to_string()));
    answer.insert("execution_profile".to_owned(), json!(word(&headers, &PROFILE)));
    answer.insert("qos_outcome".to_owned(), json!(outcome));
    // What is stored says so, since what is not is not shown again either.
    answer.insert("stored".to_owned(), json!(true));
    let mut answer = Value::Object(answer);
    if !stored::keep(core, caller, id, &answer).await
        && let Some(fields) = answer.as_object_mut()
    {
        fields.insert("stored".to_owned(), json!(false));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    settle::whole(StatusCode::OK, headers, answer.to_string().into())
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

fn word<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

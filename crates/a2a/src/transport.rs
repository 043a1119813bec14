//! HTTP: a path of each agent that takes requests, and one below it with its card.

use std::rc::Rc;

use admit::Caller;
use bytes::Bytes;
use domain::{Dialect, Fault, FaultClass, TraceId};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use line::Core;
use run::NamedAgent;
use serde_json::Value;
use settle::ReplyBody;

use crate::calls::Calls;
use crate::card::{VERSION, card};
use crate::errors::RpcError;
use crate::following;
use crate::methods::{self, Answer};
use crate::rpc::{self, Request, Unread};

const CARD: &str = ".well-known/agent-card.json";
const VERSION_HEADER: &str = "a2a-version";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
/// The same, under the name that the protocol registers.
const OWN_JSON: &str = "application/a2a+json";
const HOW: &str = "POST /a2a/AGENT takes requests of A2A 1.0, and GET /a2a/AGENT/.well-known/agent-card.json is the card of an agent.";

/// A request below `/a2a`.
#[derive(Debug)]
pub struct A2aRequest<'a> {
    pub method: &'a Method,
    /// The path below `/a2a/`.
    pub rest: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    /// The address that the client reaches the gateway at.
    pub origin: &'a str,
    pub trace: TraceId,
    pub received_unix_ms: u64,
}

/// Answers a request below `/a2a`.
pub async fn serve(core: &Rc<Core>, caller: &Caller, request: &A2aRequest<'_>) -> Response<ReplyBody> {
    match answer(core, caller, request).await {
        Ok(response) => {
            core.counters.answered(response.status().as_u16());
            response
        }
        Err(fault) => line::refuse(core, Dialect::Native, &fault, request.trace),
    }
}

async fn answer(
    core: &Rc<Core>,
    caller: &Caller,
    request: &A2aRequest<'_>,
) -> Result<Response<ReplyBody>, Box<Fault>> {
    let nothing =
        || Box::new(Fault::new(FaultClass::NotFound, "unknown_path", "There is nothing here.").fix(HOW));
    let (reference, below) = match request.rest.split_once('/') {
        Some((reference, below)) => (reference, Some(below)),
        None => (request.rest, None),
    };
    let is_card = match (request.method.as_str(), below) {
        ("POST", None) => false,
        ("GET" | "HEAD", Some(CARD)) => true,
        _ => return Err(nothing()),
    };
    let agent = run::named_agent(core, caller, reference).await?;
    let address = format!("{}/a2a/{reference}", request.origin);
    if is_card {
        let mut response = written(StatusCode::OK, &card(&agent, &address));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=60"));
        return Ok(response);
    }
    Ok(call(core, caller, request, (&agent, reference, &address)).await)
}

async fn call(
    core: &Rc<Core>,
    caller: &Caller,
    request: &A2aRequest<'_>,
    (agent, reference, address): (&NamedAgent, &str, &str),
) -> Response<ReplyBody> {
    let trace = request.trace.to_string();
    let refused =
        |id: &Value, error: &RpcError| written(StatusCode::OK, &rpc::answer(id, Err(error), &trace));
    if !is_json(request.headers) {
        let error = RpcError::content_type("Content-Type", "a request is application/json.");
        return written(StatusCode::UNSUPPORTED_MEDIA_TYPE, &rpc::answer(&Value::Null, Err(&error), &trace));
    }
    let Request { id, method, params } = match Request::read(&request.body) {
        Ok(read) => read,
        Err(Unread { id, error }) => return refused(&id, &error),
    };
    if let Err(error) = check_version(request) {
        return refused(&id, &error);
    }
    let calls = Calls {
        core,
        caller,
        agent,
        reference,
        headers: request.headers,
        trace: request.trace,
        received_unix_ms: request.received_unix_ms,
    };
    match methods::call(&calls, address, &method, &params).await {
        Ok(Answer::Whole(result)) => written(StatusCode::OK, &rpc::answer(&id, Ok(&result), &trace)),
        Ok(Answer::Stream(task, wanted)) => {
            settle::streamed(StatusCode::OK, event_headers(), following::events(&calls, task, wanted, id))
        }
        Err(error) if methods::is_streamed(&method) && takes_events_alone(request.headers) => {
            let answer = rpc::answer(&id, Err(&error), &trace);
            settle::whole(StatusCode::OK, event_headers(), format!("data: {answer}\n\n").into())
        }
        Err(error) => refused(&id, &error),
    }
}

fn event_headers() -> HeaderMap {
    let quiet = HeaderValue::from_static("no-cache");
    [(CONTENT_TYPE, HeaderValue::from_static(EVENTS)), (CACHE_CONTROL, quiet)].into_iter().collect()
}

/// Whether a client reads nothing but a stream, in which it then finds its error.
fn takes_events_alone(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut accepted = accepted.flat_map(|value| value.split(',')).map(str::trim).peekable();
    accepted.peek().is_some() && accepted.all(|one| one.starts_with(EVENTS))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = content_type.split(';').next().unwrap_or_default().trim();
    plain.eq_ignore_ascii_case(JSON) || plain.eq_ignore_ascii_case(OWN_JSON)
}

/// The version that a client names in a header, or else in the query. One that names none calls methods under the names of this
/// version, which earlier ones don't have.
fn check_version(request: &A2aRequest<'_>) -> Result<(), RpcError> {
    let name = HeaderName::from_static(VERSION_HEADER);
    let of_header = request.headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    let pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
    let mut of_query =
        pairs.filter(|(name, _)| name.eq_ignore_ascii_case(VERSION_HEADER)).map(|(_, value)| value);
    let Some(wanted) = of_header.or_else(|| of_query.next_back()) else { return Ok(()) };
    // The patch does not matter; an empty text means 0.3.
    let mut numbers = wanted.trim().splitn(3, '.');
    let major_minor = [numbers.next(), numbers.next()].into_iter().flatten().collect::<Vec<_>>().join(".");
    match major_minor.as_str() {
        VERSION => Ok(()),
        "" => Err(RpcError::version("0.3")),
        _ => Err(RpcError::version(wanted)),
    }
}

fn written(status: StatusCode, message: &Value) -> Response<ReplyBody> {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(JSON))].into_iter().collect();
    settle::whole(status, headers, message.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_one_point_naught() {
        let check = |version: Option<&'static str>, query: &str| {
            let headers: HeaderMap = version
                .map(|version| (HeaderName::from_static(VERSION_HEADER), HeaderValue::from_static(version)))
                .into_iter()
                .collect();
            let request = A2aRequest {
                method: &Method::POST,
                rest: "helper",
                query,
                headers: &headers,
                body: Bytes::new(),
                origin: "",
                trace: TraceId::new(1, [1; 10]),
                received_unix_ms: 1,
            };
            check_version(&request).err().map(|error| error.code)
        };
        assert_eq!(check(None, ""), None);
        assert_eq!(
            (check(Some("1.0"), ""), check(Some("1.0.3"), ""), check(None, "A2A-Version=1.0")),
            (None, None, None)
        );
        for wrong in ["0.3", "", "2.0", "1", "x"] {
            assert_eq!(check(Some(wrong), "A2A-Version=1.0"), Some(-32_009), "{wrong}");
        }
        assert_eq!(check(None, "A2A-Version=0.3"), Some(-32_009));
    }
}

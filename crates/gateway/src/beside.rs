//! What goes beside the pipeline, or around it: runs, answers under a quality of service, and the state of responses.

use std::rc::Rc;

use ::mcp::MESSAGE_BYTES_MAX;
use admit::Caller;
use bytes::Bytes;
use conversation::routes::RouteAction;
use decode::{Inbound, SessionHistory};
use domain::limits::BODY_BYTES_MAX;
use domain::{Dialect, Operation, TraceId};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response};
use line::Core;
use run::{AgentRequest, AppRequest, ConversationRequest, FileRequest, FileUpload, Taken, TaskCallRequest};

use crate::body::{self, TimedBody};
use crate::form;
use crate::handle::{Arrival, CoreHandler, Dispatched, inbound, keyed, refuse, refuse_and_close};
use crate::incoming::Incoming;
use crate::mcp::{self, Server, origin};
use crate::reply::{Reply, with_request_id};
use crate::routes::Action;

/// The address of answers under a quality of service, as repeated requests are compared by it.
const RESPONSES: &str = "/v2/responses";
/// That of summaries of conversations.
pub(crate) const COMPACT: &str = "/v1/responses/compact";

/// The body of a request. Where it can't be read, the answer that says so closes the connection.
async fn whole(
    handler: &CoreHandler,
    mut body: TimedBody,
    headers: &mut HeaderMap,
    dialect: Dialect,
    trace: TraceId,
) -> Result<Bytes, Box<Response<Reply>>> {
    let read = body::read(&mut body, headers, BODY_BYTES_MAX).await;
    read.map_err(|fault| Box::new(refuse_and_close(handler, dialect, &fault, trace)))
}

async fn task(
    handler: Rc<CoreHandler>,
    caller: Caller,
    mut head: Parts,
    (rest, body): (String, TimedBody),
    arrival: Arrival,
) -> Response<Reply> {
    let trace = arrival.trace;
    let body = match whole(&handler, body, &mut head.headers, Dialect::Run, trace).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let request = TaskCallRequest {
        method: &head.method,
        rest: &rest,
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body,
        trace,
        received_unix_ms: arrival.unix_ms,
    };
    with_request_id(run::task(&handler.core, &caller, request).await.map(Reply::from), trace)
}

/// A model's answer under a quality of service, or a summary, which its client may repeat under an idempotency key.
async fn respond(
    handler: Rc<CoreHandler>,
    (dialect, path): (Dialect, &'static str),
    caller: Caller,
    mut headers: HeaderMap,
    body: TimedBody,
    arrival: Arrival,
) -> Response<Reply> {
    let body = match whole(&handler, body, &mut headers, dialect, arrival.trace).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let key = match line::idempotency_key(&headers) {
        Ok(key) => key.map(str::to_owned),
        Err(fault) => return refuse(&handler, dialect, &fault, arrival.trace),
    };
    let inbound = inbound(headers, None, body, dialect, Operation::Chat, arrival);
    let answer = match key {
        Some(key) => keyed(&handler.core, inbound, caller, key, path).await.map(Reply::from),
        None if path == COMPACT => run::compact(&handler.core, inbound, caller).await.map(Reply::from),
        None => run::respond(&handler.core, inbound, caller).await.map(Reply::from),
    };
    with_request_id(answer, arrival.trace)
}

/// Whether a request is one of those that go beside the pipeline.
pub(crate) const fn is_beside(does: Action) -> bool {
    matches!(
        does,
        Action::Task
            | Action::Files
            | Action::App
            | Action::Mcp
            | Action::Respond
            | Action::Response
            | Action::Conversation
            | Action::Agent
            | Action::Dialect(RouteAction::Compact)
    )
}

/// What is about runs and native answers.
pub(crate) fn beside(
    handler: &Rc<CoreHandler>,
    (does, rest): (Action, String),
    head: Parts,
    body: Incoming,
    caller: Caller,
    arrival: Arrival,
) -> Dispatched {
    let body = TimedBody::new(body, handler.times);
    let handler = Rc::clone(handler);
    match does {
        Action::Respond | Action::Dialect(_) => {
            let at = match does {
                Action::Respond => (Dialect::Native, RESPONSES),
                _ => (Dialect::Responses, COMPACT),
            };
            Dispatched::Detached(Box::pin(respond(handler, at, caller, head.headers, body, arrival)))
        }
        Action::Files => Dispatched::Detached(Box::pin(files(handler, caller, head, (rest, body), arrival))),
        Action::App => Dispatched::Detached(Box::pin(apps(handler, caller, head, (rest, body), arrival))),
        Action::Mcp => Dispatched::Detached(Box::pin(message(handler, caller, head, body, arrival))),
        Action::Agent => Dispatched::Detached(Box::pin(agents(handler, caller, head, body, arrival))),
        Action::Response => response(handler, caller, head.method, rest, arrival),
        Action::Conversation => {
            Dispatched::Detached(Box::pin(conversation(handler, caller, head, (rest, body), arrival)))
        }
        _ => Dispatched::Detached(Box::pin(task(handler, caller, head, (rest, body), arrival))),
    }
}

async fn apps(
    handler: Rc<CoreHandler>,
    caller: Caller,
    mut head: Parts,
    (rest, body): (String, TimedBody),
    arrival: Arrival,
) -> Response<Reply> {
    let trace = arrival.trace;
    let body = match whole(&handler, body, &mut head.headers, Dialect::Run, trace).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let query = head.uri.query().unwrap_or_default();
    // A repeated `HEAD` or `GET` is the same request.
    let method = if head.method == Method::POST { Method::POST } else { Method::GET };
    let request = AppRequest { method: &method, rest: &rest, query, headers: &head.headers, body, trace };
    with_request_id(run::apps(&handler.core, &caller, &request).map(Reply::from), trace)
}

async fn agents(
    handler: Rc<CoreHandler>,
    caller: Caller,
    mut head: Parts,
    body: TimedBody,
    arrival: Arrival,
) -> Response<Reply> {
    let trace = arrival.trace;
    let body = match whole(&handler, body, &mut head.headers, Dialect::Run, trace).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let request = AgentRequest {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body,
        trace,
        received_unix_ms: arrival.unix_ms,
    };
    with_request_id(run::agent(&handler.core, &caller, request).await.map(Reply::from), trace)
}

async fn conversation(
    handler: Rc<CoreHandler>,
    caller: Caller,
    mut head: Parts,
    (rest, body): (String, TimedBody),
    arrival: Arrival,
) -> Response<Reply> {
    let trace = arrival.trace;
    let body = match whole(&handler, body, &mut head.headers, Dialect::Responses, trace).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let query = head.uri.query().unwrap_or_default();
    let request = ConversationRequest { method: &head.method, rest: &rest, query, body, trace };
    run::conversation(&handler.core, &caller, request).await.map(Reply::from)
}

fn response(
    handler: Rc<CoreHandler>,
    caller: Caller,
    method: Method,
    rest: String,
    arrival: Arrival,
) -> Dispatched {
    Dispatched::Detached(Box::pin(async move {
        let answer = run::response(&handler.core, &caller, &method, &rest, arrival.trace);
        with_request_id(answer.await.map(Reply::from), arrival.trace)
    }))
}

/// A request of the dialect that has state, of which the gateway keeps what no provider does.
pub(crate) async fn stateful(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<Reply> {
    match run::take_response(core, inbound, caller).await {
        Taken::Answered(response) => response.map(Reply::from),
        Taken::Left(inbound, caller) if line::keeps_answers(&caller) => {
            line::serve_cached(core, *inbound, *caller).await.map(Reply::from)
        }
        Taken::Left(inbound, caller) => line::serve(core, *inbound, *caller).await.map(Reply::from),
    }
}

/// A request whose model may call tools that the gateway executes. What its provider runs is served as any other.
pub(crate) async fn with_tools(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<Reply> {
    let (inbound, caller) = match toolloop::take(core, inbound, caller).await {
        toolloop::Taken::Answered(response) => return response.map(Reply::from),
        toolloop::Taken::Left(left) => *left,
    };
    if inbound.dialect == Dialect::Responses {
        return stateful(core, inbound, caller).await;
    }
    if SessionHistory::is_named(&inbound.headers) {
        return continued(core, inbound, caller).await;
    }
    if line::keeps_answers(&caller) {
        return line::serve_cached(core, inbound, caller).await.map(Reply::from);
    }
    line::serve(core, inbound, caller).await.map(Reply::from)
}

/// A request that may continue a session. Where nothing continues one, the pipeline says so.
pub(crate) async fn continued(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<Reply> {
    if run::continues_session(&inbound) {
        return run::serve_continued(core, inbound, caller).await.map(Reply::from);
    }
    line::serve(core, inbound, caller).await.map(Reply::from)
}

pub(crate) async fn files(
    handler: Rc<CoreHandler>,
    caller: Caller,
    mut head: Parts,
    (rest, body): (String, TimedBody),
    arrival: Arrival,
) -> Response<Reply> {
    let trace = arrival.trace;
    let body = match whole(&handler, body, &mut head.headers, Dialect::Run, trace).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let origin = origin(&head);
    let request =
        FileRequest { method: &head.method, rest: &rest, headers: &head.headers, body, origin, trace };
    let answer = run::files(&handler.core, &caller, request).await;
    with_request_id(answer.map(Reply::from), trace)
}

/// Content is read as fast as it can be stored, whatever its size.
pub(crate) fn upload(
    handler: &Rc<CoreHandler>,
    head: Parts,
    (rest, body): (String, Incoming),
    arrival: Arrival,
) -> Dispatched {
    let handler = Rc::clone(handler);
    Dispatched::Detached(Box::pin(async move {
        let body = form::stream(TimedBody::new(body, handler.times));
        let (origin, trace) = (origin(&head), arrival.trace);
        let request = FileUpload { rest: &rest, headers: &head.headers, body: body.clone(), origin, trace };
        let answer = run::upload(&handler.core, request).await;
        let mut answer = with_request_id(answer.map(Reply::from), trace);
        if body.left() != Some(0) && !answer.status().is_success() {
            // The rest of it is not read as a next request.
            answer.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }))
}

/// A message of an MCP client.
async fn message(
    handler: Rc<CoreHandler>,
    caller: Caller,
    mut head: Parts,
    mut body: TimedBody,
    arrival: Arrival,
) -> Response<Reply> {
    let (trace, peer) = (arrival.trace, arrival.peer);
    let body = match body::read(&mut body, &mut head.headers, MESSAGE_BYTES_MAX).await {
        Ok(body) => body,
        Err(fault) => return refuse_and_close(&handler, Dialect::Native, &fault, trace),
    };
    let server = Server {
        core: &handler.core,
        sessions: &handler.mcp,
        control: handler.control.as_ref(),
        times: handler.times,
    };
    with_request_id(mcp::serve(&server, &caller, &head, body, (peer, trace)).await, trace)
}

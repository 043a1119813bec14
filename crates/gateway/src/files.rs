//! Requests about files: those with a key, and content that is sent to an address of its own.

use std::rc::Rc;

use admit::Caller;
use domain::Dialect;
use domain::limits::BODY_BYTES_MAX;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Response};
use run::{FileRequest, FileUpload};

use crate::body::{self, TimedBody};
use crate::form;
use crate::handle::{Arrival, CoreHandler, Dispatched, refuse_and_close, with_request_id};
use crate::incoming::Incoming;
use crate::reply::Reply;

/// The address that a client came by. Where something in front ends TLS, the operator sets the public one.
fn origin(head: &Parts) -> String {
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| head.headers.get(HOST).map(HeaderValue::to_str).and_then(Result::ok));
    format!("http://{}", host.unwrap_or_default())
}

pub(crate) async fn files(
    handler: Rc<CoreHandler>,
    caller: Caller,
    mut head: Parts,
    (rest, mut body): (String, TimedBody),
    arrival: Arrival,
) -> Response<Reply> {
    let trace = arrival.trace;
    let read = body::read(&mut body, &mut head.headers, BODY_BYTES_MAX).await;
    drop(body);
    let body = match read {
        Ok(body) => body,
        Err(fault) => return refuse_and_close(&handler, Dialect::Run, &fault, trace),
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

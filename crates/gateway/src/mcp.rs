//! `/mcp`: the gateway as an MCP server, for one request of a client.

use std::net::IpAddr;
use std::rc::Rc;

use ::mcp::{CallerContext, ControlPlane, MESSAGE_BYTES_MAX};
use admit::Caller;
use bytes::Bytes;
use domain::{Dialect, Fault, FaultClass, TraceId};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};

use crate::beside::origin;
use crate::body::{self, TimedBody};
use crate::handle::{self, Arrival, CoreHandler, refuse_and_close, with_request_id};
use crate::incoming::Incoming;
use crate::reply::Reply;
use crate::routes::{Action, Route};

/// What a key comes in, and the name that a console is checked by.
const IDENTIFYING: [HeaderName; 4] =
    [AUTHORIZATION, HOST, HeaderName::from_static("x-api-key"), HeaderName::from_static("x-goog-api-key")];

/// The control plane with the key of a request.
struct WithKey<'a> {
    handler: &'a CoreHandler,
    headers: &'a HeaderMap,
    peer: IpAddr,
    trace: TraceId,
}

impl ControlPlane for WithKey<'_> {
    fn ask(
        &self,
        method: Method,
        path: String,
        body: Bytes,
    ) -> LocalBoxFuture<'_, Option<(StatusCode, Bytes)>> {
        async move {
            let control = self.handler.control.as_ref()?;
            let body = TimedBody::new(Incoming::Whole(body), self.handler.times);
            let mut request = Request::builder().method(method).uri(path).body(body).ok()?;
            let headers = request.headers_mut();
            for name in &IDENTIFYING {
                headers.extend(self.headers.get(name).map(|value| (name.clone(), value.clone())));
            }
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let answer = control.call(request, self.peer, self.trace).await.ok()?;
            Some((answer.status(), answer.into_body()))
        }
        .boxed_local()
    }
}

/// Refuses a caller; a client of this path that has no key is sent to where it gets one.
pub(crate) fn refuse(
    handler: &CoreHandler,
    route: &Route,
    head: &Parts,
    fault: &Fault,
    trace: TraceId,
) -> Response<Reply> {
    let mut refused = handle::refuse(handler, route.dialect, fault, trace);
    if route.action != Action::Mcp || fault.class != FaultClass::Unauthenticated {
        return refused;
    }
    let site = handler.control.as_ref().and_then(|control| control.service.site());
    let address = site.map(|site| oauth::resource_metadata_url(&site.base_url(&head.headers)));
    let named = address.map(|address| format!("Bearer resource_metadata=\"{address}\""));
    if let Some(value) = named.and_then(|named| HeaderValue::try_from(named).ok()) {
        refused.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    refused
}

pub(crate) async fn serve(
    handler: Rc<CoreHandler>,
    caller: Caller,
    mut head: Parts,
    mut body: TimedBody,
    arrival: Arrival,
) -> Response<Reply> {
    let trace = arrival.trace;
    let site = handler.control.as_ref().and_then(|control| control.service.site());
    if site.is_some_and(|site| !site.lets_page_in(&head.headers)) {
        return with_request_id(::mcp::foreign_origin().map(Reply::from), trace);
    }
    let body = match body::read(&mut body, &mut head.headers, MESSAGE_BYTES_MAX).await {
        Ok(body) => body,
        Err(fault) => return refuse_and_close(&handler, Dialect::Native, &fault, trace),
    };
    let control = WithKey { handler: &handler, headers: &head.headers, peer: arrival.peer, trace };
    let origin = origin(&head);
    let context = CallerContext {
        core: &handler.core,
        caller: &caller,
        control: &control,
        headers: &head.headers,
        origin: &origin,
        trace,
    };
    let answer = ::mcp::serve(&handler.mcp, &context, &head.method, body).await;
    with_request_id(answer.map(Reply::from), trace)
}

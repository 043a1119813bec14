//! `/mcp`: the gateway as an MCP server, for one request of a client.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use ::mcp::{CallerContext, ControlPlane, Sessions};
use admit::Caller;
use bytes::Bytes;
use domain::{Fault, FaultClass, TraceId};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use line::Core;

use crate::body::TimedBody;
use crate::control::ControlHandle;
use crate::held_bodies::HeldBodies;
use crate::incoming::Incoming;
use crate::reply::Reply;
use crate::routes::{Action, Route};
use crate::times::Times;

/// The sessions of all cores.
pub(crate) type SharedSessions = Arc<Sessions>;

/// What a key comes in, and the name that a console is checked by.
const IDENTIFYING: [HeaderName; 4] =
    [AUTHORIZATION, HOST, HeaderName::from_static("x-api-key"), HeaderName::from_static("x-goog-api-key")];

/// What answers the requests of a core.
pub(crate) struct Server<'a> {
    pub core: &'a Rc<Core>,
    pub sessions: &'a Sessions,
    pub control: Option<&'a ControlHandle>,
    pub bodies: &'a Arc<HeldBodies>,
    pub times: Times,
}

/// The control plane with the key of a request.
struct WithKey<'a> {
    server: &'a Server<'a>,
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
            let control = self.server.control?;
            let body = TimedBody::new(Incoming::Whole(body), self.server.times);
            let mut request = Request::builder().method(method).uri(path).body(body).ok()?;
            let headers = request.headers_mut();
            for name in &IDENTIFYING {
                headers.extend(self.headers.get(name).map(|value| (name.clone(), value.clone())));
            }
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let answer = control.call(request, self.server.bodies, (self.peer, self.trace)).await.ok()?;
            Some((answer.status(), answer.into_body()))
        }
        .boxed_local()
    }
}

/// The address that a client came by. Where something in front ends TLS, the operator sets the public one.
pub(crate) fn origin(head: &Parts) -> String {
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| head.headers.get(HOST).map(HeaderValue::to_str).and_then(Result::ok));
    format!("http://{}", host.unwrap_or_default())
}

/// The refusal of a caller, which says to a client of these protocols that has no key how it identifies itself.
pub(crate) fn authorized(
    control: Option<&ControlHandle>,
    route: &Route,
    head: &Parts,
    fault: &Fault,
    mut refused: Response<Reply>,
) -> Response<Reply> {
    if fault.class != FaultClass::Unauthenticated {
        return refused;
    }
    match route.action {
        Action::Mcp => {}
        // A client of A2A learns which of the schemes of a card is missing.
        Action::A2a => {
            refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return refused;
        }
        _ => return refused,
    }
    let site = control.and_then(|control| control.service.site());
    let address = site.map(|site| oauth::resource_metadata_url(&site.base_url(&head.headers)));
    let named = address.map(|address| format!("Bearer resource_metadata=\"{address}\""));
    if let Some(value) = named.and_then(|named| HeaderValue::try_from(named).ok()) {
        refused.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    refused
}

/// Answers a request whose body is read.
pub(crate) async fn serve(
    server: &Server<'_>,
    caller: &Caller,
    head: &Parts,
    body: Bytes,
    (peer, trace): (IpAddr, TraceId),
) -> Response<Reply> {
    let site = server.control.and_then(|control| control.service.site());
    if site.is_some_and(|site| !site.lets_page_in(&head.headers)) {
        return ::mcp::foreign_origin().map(Reply::from);
    }
    let control = WithKey { server, headers: &head.headers, peer, trace };
    let origin = origin(head);
    let (core, headers) = (server.core, &head.headers);
    let context = CallerContext { core, caller, control: &control, headers, origin: &origin, trace };
    ::mcp::serve(server.sessions, &context, &head.method, body).await.map(Reply::from)
}

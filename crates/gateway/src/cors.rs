//! Pages of other origins (CORS): which of them a browser lets read an answer. A page calls with its key, never with the
//! console's session.

use std::cell::OnceCell;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use domain::Dialect;
use futures_util::FutureExt;
use futures_util::future::Either;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, COOKIE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use snapshot::ANY_ORIGIN;

use crate::handle::{self, CoreHandler};
use crate::http1::Arrived;
use crate::reply::Reply;
use crate::routes::{self, Access, Action, Found, Route, aliases};

/// How long a browser may go without asking again whether it may send a request.
const ASK_AGAIN_S: &str = "600";

/// Answers one request, also to a page of an allowed origin.
pub(crate) fn answer(
    handler: Rc<CoreHandler>,
    arrived: Arrived,
    peer: SocketAddr,
) -> impl Future<Output = Response<Reply>> {
    let origin = match &arrived {
        // A cookie is the console's, which other pages have nothing to do with.
        Arrived::Request(request) if !request.headers().contains_key(COOKIE) => {
            request.headers().get(ORIGIN).cloned()
        }
        _ => None,
    };
    match (origin, arrived) {
        (Some(origin), Arrived::Request(request)) => Either::Right(to_page(handler, origin, request, peer)),
        (_, arrived) => Either::Left(handle::answer(handler, arrived, peer)),
    }
}

/// Boxed: few requests come from pages, and every connection is as large as the other future.
fn to_page(
    handler: Rc<CoreHandler>,
    origin: HeaderValue,
    request: Request<crate::incoming::Incoming>,
    peer: SocketAddr,
) -> Pin<Box<dyn Future<Output = Response<Reply>>>> {
    let headers = request.headers();
    let announced =
        headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| *request.method() == Method::OPTIONS);
    let method = match announced {
        Some(method) => Method::from_bytes(method.as_bytes()).unwrap_or(Method::OPTIONS),
        None => request.method().clone(),
    };
    let keyed = headers_for_pages(&handler.table, &method, request.uri(), headers);
    if keyed.is_none_or(|keyed| !is_readable(&handler, &origin, &keyed)) {
        return Box::pin(handle::answer(handler, Arrived::Request(request), peer));
    }
    let origin = handler.origins.header_for(origin);
    if announced.is_some() {
        let mut answer = Response::new(Reply::whole(Bytes::new()));
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let allowed = answer.headers_mut();
        allowed.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(routes::METHODS));
        allowed.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(ASK_AGAIN_S));
        // A wildcard would not cover `Authorization`.
        if let Some(names) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            allowed.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        return Box::pin(ready(readable_by(origin, answer)));
    }
    let answering = handle::answer(handler, Arrived::Request(request), peer);
    Box::pin(answering.map(|answer| readable_by(origin, answer)))
}

fn is_readable(handler: &CoreHandler, origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let is_by_setting = handler.origins.allow(origin);
    let snapshot = handler.core.snapshot.current();
    origin.to_str().is_ok_and(|origin| admit::is_readable_by(origin, &snapshot, headers, is_by_setting))
}

/// The headers, with the key of the query among them, of a request to a path where a key is asked for, or whose address is
/// a secret. What manages the gateway is the console's.
fn headers_for_pages(table: &[Route], method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<HeaderMap> {
    let meant = routes::meant_path(method, uri, headers);
    let path = meant.as_deref().unwrap_or(uri.path());
    let alias = OnceCell::new();
    let mut keyed = headers.clone();
    let is_for_pages = match aliases::find(table, method, path, headers, &alias) {
        Found::Route(route, _) => {
            routes::take_key(route, uri.query().unwrap_or_default(), &mut keyed);
            matches!(route.access, Access::Key(_)) || route.action == Action::Upload
        }
        Found::OtherMethods(..) | Found::Nothing => routes::dialect_of(path) != Dialect::Native,
    };
    is_for_pages.then_some(keyed)
}

fn readable_by(origin: HeaderValue, mut answer: Response<Reply>) -> Response<Reply> {
    let headers = answer.headers_mut();
    if origin != *ANY_ORIGIN {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(ANY_ORIGIN));
    answer
}

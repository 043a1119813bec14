//! Pages of other origins (CORS): which of them a browser lets read an answer. A page calls with a key of its own, never with the
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

use crate::handle::{self, CoreHandler};
use crate::http1::Arrived;
use crate::reply::Reply;
use crate::routes::{self, Access, Action, Found, Route, aliases};

/// How long a browser may go without asking again whether it may send a request.
const ASK_AGAIN_S: &str = "600";
const ANY: &str = "*";

/// The origins whose pages may call the gateway; by default none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    is_any: bool,
    listed: Vec<HeaderValue>,
}

impl Origins {
    /// Reads `https://app.example,http://localhost:3000`, or `*`. An origin has no path, and is written as browsers send it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut origins = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                ANY => origins.is_any = true,
                _ => origins.listed.push(origin(word)?),
            }
        }
        Some(origins)
    }

    /// What `Access-Control-Allow-Origin` says to a request, if its page may read the answer.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if !self.is_any && self.listed.is_empty() {
            return None;
        }
        // A cookie is the console's, which other pages have nothing to do with.
        let origin = headers.get(ORIGIN).filter(|_| !headers.contains_key(COOKIE))?;
        if self.is_any {
            Some(HeaderValue::from_static(ANY))
        } else {
            self.listed.contains(origin).then(|| origin.clone())
        }
    }
}

fn origin(word: &str) -> Option<HeaderValue> {
    let (scheme, host) = word.split_once("://")?;
    let is_written_so = !scheme.is_empty() && !word.contains(|letter: char| letter.is_ascii_uppercase());
    let uri: Uri = format!("http://{host}").parse().ok()?;
    let is_host = uri.authority().is_some_and(|authority| authority.as_str() == host && !host.contains('@'));
    (is_written_so && is_host).then(|| HeaderValue::from_str(word).ok())?
}

/// Answers one request, also to a page of an allowed origin.
pub(crate) fn answer(
    handler: Rc<CoreHandler>,
    arrived: Arrived,
    peer: SocketAddr,
) -> impl Future<Output = Response<Reply>> {
    let origin = match &arrived {
        Arrived::Request(request) => handler.origins.allowed(request.headers()),
        Arrived::Refused(_) => None,
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
    if !is_for_pages(&handler.table, &method, request.uri(), headers) {
        return Box::pin(handle::answer(handler, Arrived::Request(request), peer));
    }
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

/// Whether a key is asked for at a path, or its address is a secret. What manages the gateway is the console's.
fn is_for_pages(table: &[Route], method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let meant = routes::meant_path(method, uri, headers);
    let path = meant.as_deref().unwrap_or(uri.path());
    let alias = OnceCell::new();
    match aliases::find(table, method, path, headers, &alias) {
        Found::Route(route, _) => matches!(route.access, Access::Key(_)) || route.action == Action::Upload,
        Found::OtherMethods(..) | Found::Nothing => routes::dialect_of(path) != Dialect::Native,
    }
}

fn readable_by(origin: HeaderValue, mut answer: Response<Reply>) -> Response<Reply> {
    let headers = answer.headers_mut();
    if origin != *ANY {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(ANY));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for text in ["", " ", "*", "https://app.example, http://localhost:3000", "app://obsidian.md"] {
            assert!(Origins::parse(text).is_some(), "{text}");
        }
        for text in [
            "app.example",
            "https://app.example/",
            "https://App.example",
            "https://",
            "null",
            "://a",
            "https://u@a",
        ] {
            assert_eq!(Origins::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_page_reads_what_its_origin_may() {
        let check = |setting: &str, sent: &[(http::HeaderName, &'static str)], expected: Option<&str>| {
            let headers: HeaderMap =
                sent.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            let allowed = Origins::parse(setting).unwrap().allowed(&headers);
            assert_eq!(allowed.as_ref().map(|value| value.to_str().unwrap()), expected, "{setting} {sent:?}");
        };
        let app = (ORIGIN, "https://app.example");
        check("", std::slice::from_ref(&app), None);
        check("https://app.example", std::slice::from_ref(&app), Some("https://app.example"));
        check("https://other.example", std::slice::from_ref(&app), None);
        check("*", std::slice::from_ref(&app), Some("*"));
        check("*", &[], None);
        check("*", &[app, (COOKIE, "session=1")], None);
    }
}

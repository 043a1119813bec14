//! Builds the HTTP response of a `/v2` request: the headers that every response carries, and problem
//! documents that point at the offending field.

use bytes::Bytes;
use domain::{Dialect, Fault, TraceId};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::reply::Reply;
use crate::version;

/// The parts of a request that are still needed after its body and head were consumed.
pub struct ResponseBuilder {
    trace: TraceId,
    /// `If-None-Match`: the ETags that the client already has.
    known: Option<String>,
    /// Names of the query parameters: an error about one of them gets no JSON pointer into the body.
    query: Vec<String>,
}

impl ResponseBuilder {
    pub fn of<B>(request: &http::Request<B>, trace: TraceId) -> Self {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let known = request.headers().get(header::IF_NONE_MATCH).filter(|_| is_read);
        let query = request.uri().query().unwrap_or("").split('&').filter_map(|pair| pair.split('=').next());
        Self {
            trace,
            known: known.and_then(|value| value.to_str().ok()).map(str::to_owned),
            query: query.map(str::to_owned).collect(),
        }
    }

    pub fn succeed(&self, reply: Reply) -> Response<Full<Bytes>> {
        let tag = reply.version.map(|version| format!("\"v{version}\""));
        if let (Some(tag), Some(known)) = (&tag, &self.known)
            && is_known(known, tag)
        {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            set(response.headers_mut(), header::ETAG, tag);
            return self.finish(response);
        }
        let mut response = Response::new(Full::new(reply.body));
        *response.status_mut() = reply.status;
        if let Some(entrance) = reply.entrance {
            response.extensions_mut().insert(entrance);
            set(response.headers_mut(), header::UPGRADE, egress::TUNNEL_PROTOCOL);
            return self.finish(response);
        }
        let headers = response.headers_mut();
        if reply.status != StatusCode::NO_CONTENT {
            set(headers, header::CONTENT_TYPE, reply.content_type);
        }
        let optional = [
            (HeaderName::from_static("tidegate-dry-run"), reply.is_rehearsed.then(|| "true".to_owned())),
            (HeaderName::from_static("x-next-cursor"), reply.next_cursor),
            (header::ETAG, tag),
            (header::LOCATION, reply.location),
            (header::SET_COOKIE, reply.set_cookie),
            (header::ALLOW, reply.allow),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                set(headers, name, &value);
            }
        }
        self.finish(response)
    }

    pub fn fail(&self, fault: &Fault, allow: Option<String>) -> Response<Full<Bytes>> {
        let rendered = dialects::render_error(fault, Dialect::Native, self.trace);
        let body = match fault.param.as_deref().and_then(|param| self.pointer(param)) {
            None => rendered.body,
            Some(pointer) => with_errors(&rendered.body, &pointer, fault).unwrap_or(rendered.body),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() =
            StatusCode::from_u16(rendered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        set(headers, header::CONTENT_TYPE, rendered.content_type);
        for (name, value) in rendered.headers {
            headers.insert(name, value);
        }
        if let Some(allow) = allow {
            set(headers, header::ALLOW, &allow);
        }
        self.finish(response)
    }

    /// A body field as a JSON pointer; `None` for parameters and headers.
    fn pointer(&self, param: &str) -> Option<String> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.[]".contains(c);
        if self.query.iter().any(|name| name == param) || !param.chars().all(is_plain) {
            return None;
        }
        Some(format!("#/{}", param.replace('[', ".").replace(']', "").replace('.', "/")))
    }

    fn finish(&self, mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        let headers = response.headers_mut();
        // No response is a page: stored text can't be rendered as one, and nothing may be framed.
        for (name, value) in [
            (header::CACHE_CONTROL, "private, no-store"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static(version::HEADER), version::VERSION),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let trace = self.trace.to_string();
        for name in ["x-request-id", "agent-trace-id"] {
            set(headers, HeaderName::from_static(name), &trace);
        }
        response
    }
}

fn is_known(known: &str, tag: &str) -> bool {
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == "*" || one == tag)
}

fn with_errors(problem: &[u8], pointer: &str, fault: &Fault) -> Option<Bytes> {
    let mut problem: Value = serde_json::from_slice(problem).ok()?;
    let errors = json!([{"pointer": pointer, "detail": fault.message, "code": fault.code}]);
    problem.as_object_mut()?.insert("errors".to_owned(), errors);
    serde_json::to_vec(&problem).ok().map(Bytes::from)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_body_is_pointed_at() {
        let request = http::Request::get("/v2/usage?window=x&group_by=y").body(()).unwrap();
        let answering = ResponseBuilder::of(&request, TraceId::new(1, [0; 10]));
        let cases = [
            ("name", Some("#/name")),
            ("scope.project_id", Some("#/scope/project_id")),
            ("profiles[2]", Some("#/profiles/2")),
            ("window", None),
            ("Content-Type", None),
            ("pricing.openai/gpt-4.1.input", None),
        ];
        for (param, pointer) in cases {
            assert_eq!(answering.pointer(param).as_deref(), pointer, "{param}");
        }
    }

    #[test]
    fn a_version_that_is_known_is_not_sent_again() {
        for known in ["\"v3\"", "W/\"v3\"", "\"v1\", \"v3\"", "*"] {
            assert!(is_known(known, "\"v3\""), "{known}");
        }
        assert!(!is_known("\"v30\"", "\"v3\""));
    }
}

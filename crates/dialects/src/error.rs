//! Renders a fault as an error response in the client's dialect: status, headers and body.

use bytes::Bytes;
use conversation::fault_text::{sent_ms_max, should_retry};
use conversation::request::Request;
use domain::{Dialect, Fault, FaultClass, TraceId};
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};

use crate::problem;
use crate::registry::client_face;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream; charset=utf-8";
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const LIMIT_OF: HeaderName = HeaderName::from_static("x-tidegate-limit-of");
/// AWS SDKs tell errors apart by this header.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A buffered error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorAnswer {
    pub status: u16,
    pub content_type: &'static str,
    /// Includes the request id's header: insert these rather than append, so that none is duplicated.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// The header in which the dialect's SDKs look for the request id.
pub fn request_id_header(dialect: Dialect) -> HeaderName {
    client_face(dialect).facts().request_id.clone()
}

/// The response for a fault. The message ends with the fix and the request id.
pub fn render_error(fault: &Fault, dialect: Dialect, trace: TraceId) -> ErrorAnswer {
    let face = client_face(dialect);
    let status = face.status(fault);
    let (content_type, body) = if matches!(dialect, Dialect::Run | Dialect::Native) {
        (problem::CONTENT_TYPE, problem::body(fault, status, trace))
    } else {
        (JSON, face.error_body(fault, trace))
    };
    ErrorAnswer { status, content_type, headers: headers(fault, dialect, trace), body }
}

/// The response for a prompt that was blocked for its content, in a dialect where that is not an error
/// (Gemini); in the form that the request asked for, like every answer. `None` in the others.
pub fn render_blocked(
    fault: &Fault,
    dialect: Dialect,
    request: &Request,
    trace: TraceId,
) -> Option<ErrorAnswer> {
    let body = client_face(dialect).blocked_body(fault, &request.model, trace)?;
    let (content_type, body) = match (request.stream, request.as_array) {
        (true, true) => (JSON, [b"[".as_slice(), &body, b"]"].concat()),
        (true, false) => (EVENTS, [b"data: ".as_slice(), &body, b"\r\n\r\n"].concat()),
        (false, _) => (JSON, body),
    };
    let headers = headers(fault, dialect, trace);
    Some(ErrorAnswer { status: 200, content_type, headers, body: Bytes::from(body) })
}

fn headers(fault: &Fault, dialect: Dialect, trace: TraceId) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(5);
    headers.extend(client_face(dialect).error_header(fault));
    if let Ok(value) = HeaderValue::try_from(trace.to_string()) {
        headers.push((request_id_header(dialect), value));
    }
    if let Some(wait) = fault.retry_after_ms {
        let sent = wait.min(sent_ms_max());
        headers.push((RETRY_AFTER, HeaderValue::from(sent.div_ceil(1000))));
        headers.push((RETRY_AFTER_MS, HeaderValue::from(sent)));
    }
    if let Some(whose) = whose_limit(fault.class) {
        headers.push((LIMIT_OF, HeaderValue::from_static(whose)));
    }
    if let Some(retry) = should_retry(fault) {
        headers.push((SHOULD_RETRY, HeaderValue::from_static(if retry { "true" } else { "false" })));
    }
    headers
}

/// SDKs can't tell a 429 or 402 of the gateway from one of the provider; this header says whose it is.
const fn whose_limit(class: FaultClass) -> Option<&'static str> {
    match class {
        FaultClass::Limited | FaultClass::BudgetReached | FaultClass::CreditsRequired => Some("gateway"),
        FaultClass::RateLimit | FaultClass::UpstreamQuota => Some("provider"),
        _ => None,
    }
}

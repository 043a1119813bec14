//! Renders a fault as an error response in the client's dialect: status, headers and body.

use bytes::Bytes;
use domain::limits::RETRY_AFTER_SENT_MAX;
use domain::{Dialect, Fault, FaultClass, TraceId, UpstreamReport};
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};

use crate::{Request, anthropic, chat, converse, gemini, problem, status};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream; charset=utf-8";
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const LIMIT_OF: HeaderName = HeaderName::from_static("x-tidegate-limit-of");
/// AWS SDKs tell errors apart by this header.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
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
#[must_use]
pub fn request_id_header(dialect: Dialect) -> HeaderName {
    HeaderName::from_static(match dialect {
        Dialect::Anthropic => "request-id",
        Dialect::Converse => "x-amzn-requestid",
        _ => "x-request-id",
    })
}

/// The response for a fault. The message ends with the fix and the request id.
#[must_use]
pub fn render_error(fault: &Fault, dialect: Dialect, trace: TraceId) -> ErrorAnswer {
    let status = status(fault, dialect);
    let (content_type, body) = match dialect {
        Dialect::Chat | Dialect::Responses => (JSON, chat::error_body(fault, trace)),
        Dialect::Anthropic => (JSON, anthropic::error_body(fault, trace)),
        Dialect::Gemini => (JSON, gemini::error_body(fault, status, trace)),
        Dialect::Converse => (JSON, converse::error_body(fault, trace)),
        Dialect::Run | Dialect::Native => (problem::CONTENT_TYPE, problem::body(fault, status, trace)),
    };
    ErrorAnswer { status, content_type, headers: headers(fault, dialect, trace), body }
}

/// The response for a prompt that was blocked for its content, in a dialect where that is not an error
/// (Gemini); in the form that the request asked for, like every answer. `None` in the others.
#[must_use]
pub fn render_blocked(
    fault: &Fault,
    dialect: Dialect,
    request: &Request,
    trace: TraceId,
) -> Option<ErrorAnswer> {
    if (dialect, fault.class) != (Dialect::Gemini, FaultClass::ContentPolicy) {
        return None;
    }
    let body = gemini::blocked_body(fault, &request.model, trace);
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
    if dialect == Dialect::Converse {
        headers.push((ERROR_TYPE, HeaderValue::from_static(converse::error_type(fault))));
    }
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

/// The value of `x-should-retry`. SDKs retry 408, 409, 429 and 5xx on their own, so this stops them where a
/// retry can't help; that includes waits longer than `retry-after` may say.
fn should_retry(fault: &Fault) -> Option<bool> {
    let hopeless = matches!(fault.class, FaultClass::UpstreamAuth | FaultClass::UpstreamQuota);
    let too_long = fault.retry_after_ms.is_some_and(|wait| wait > sent_ms_max());
    if hopeless || too_long { Some(false) } else { fault.should_retry }
}

/// Whether sending the same request again may help.
pub(crate) fn is_retryable(fault: &Fault) -> bool {
    let class = matches!(
        fault.class,
        FaultClass::ClientTimeout
            | FaultClass::RateLimit
            | FaultClass::Overloaded
            | FaultClass::Timeout
            | FaultClass::Upstream
            | FaultClass::StreamBroken
            | FaultClass::Deadline
            | FaultClass::Unavailable
            | FaultClass::Internal
            | FaultClass::Limited
    );
    should_retry(fault).unwrap_or(class)
}

/// The message for a human, in one line: what is wrong, what to do, and the ids for support. SDKs show
/// nothing else.
pub(crate) fn message(fault: &Fault, trace: TraceId) -> String {
    let mut message = format!("{}{}", fault.message, wait_sentence(fault));
    if let Some(fix) = &fault.fix {
        message.push(' ');
        message.push_str(fix);
    }
    match fault.upstream.as_deref().and_then(upstream_id) {
        Some((provider, id)) => {
            message.push_str(&format!(" (request id: {trace}; {provider} calls it {id})"))
        }
        None => message.push_str(&format!(" (request id: {trace})")),
    }
    message
}

/// The provider, and its own request id for its support desk.
fn upstream_id(report: &UpstreamReport) -> Option<(&str, &str)> {
    let id = report.request_id.as_deref()?;
    Some((if report.provider.is_empty() { "the provider" } else { &report.provider }, id))
}

/// The actual wait, in the message where it is longer than the header may say.
pub(crate) fn wait_sentence(fault: &Fault) -> String {
    match fault.retry_after_ms {
        Some(wait) if wait > sent_ms_max() => format!(" It may be tried again in {} s.", wait.div_ceil(1000)),
        _ => String::new(),
    }
}

fn sent_ms_max() -> u64 {
    u64::try_from(RETRY_AFTER_SENT_MAX.as_millis()).unwrap_or(u64::MAX)
}

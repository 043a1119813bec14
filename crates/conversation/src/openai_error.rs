//! Errors in OpenAI's format, as two dialects write them for clients.

use crate::fault_text::message;
use bytes::Bytes;
use domain::{Fault, FaultClass, TraceId, UpstreamReport};
use serde::Serialize;

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

/// The body of an error response. The message ends with the fix and the request id, since SDKs show nothing
/// else.
pub fn error_body(fault: &Fault, trace: TraceId) -> Bytes {
    Bytes::from(encode(fault, trace))
}

/// The error as the last event of a stream. The caller closes the stream after it without `[DONE]`.
pub fn error_event(fault: &Fault, trace: TraceId) -> Bytes {
    let body = encode(fault, trace);
    let mut event = Vec::with_capacity(body.len() + 8);
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(&body);
    event.extend_from_slice(b"\n\n");
    Bytes::from(event)
}

fn encode(fault: &Fault, trace: TraceId) -> Vec<u8> {
    let message = message(fault, trace);
    // Where the request itself is at fault, clients match on the provider's own type, parameter and code.
    let upstream = fault.upstream.as_deref().filter(|_| blames_request(fault.class));
    let has_null_code = upstream.is_some_and(|report| report.has_null_code && report.code.is_none());
    let field = |read: fn(&UpstreamReport) -> Option<&str>| upstream.and_then(read);
    let body = Body {
        message: &message,
        r#type: field(|report| report.kind.as_deref()).unwrap_or_else(|| kind(fault.class)),
        param: field(|report| report.param.as_deref()).or(fault.param.as_deref()),
        // Some servers repeat the status here, which is not an error code.
        code: field(|report| report.code.as_deref().filter(|code| code.parse::<u16>().is_err()))
            .or((!has_null_code).then_some(fault.code)),
    };
    serde_json::to_vec(&Envelope { error: body }).unwrap_or_default()
}

const fn blames_request(class: FaultClass) -> bool {
    matches!(
        class,
        FaultClass::BadRequest
            | FaultClass::Unsupported
            | FaultClass::TooLarge
            | FaultClass::ContextLength
            | FaultClass::ContentPolicy
    )
}

/// `error.type` as OpenAI's API sets it.
const fn kind(class: FaultClass) -> &'static str {
    match class {
        FaultClass::BadRequest
        | FaultClass::Unsupported
        | FaultClass::TooLarge
        | FaultClass::ContextLength
        | FaultClass::Unauthenticated
        | FaultClass::NotFound
        | FaultClass::MethodNotAllowed
        | FaultClass::MediaType
        | FaultClass::NotAcceptable
        | FaultClass::Gone
        | FaultClass::ClientTimeout
        | FaultClass::Conflict
        | FaultClass::Precondition
        | FaultClass::UpstreamNotFound
        | FaultClass::ContentPolicy
        | FaultClass::Cancelled => "invalid_request_error",
        FaultClass::Forbidden | FaultClass::UpstreamPermission => "permission_error",
        FaultClass::UpstreamAuth => "upstream_error",
        FaultClass::UpstreamQuota | FaultClass::BudgetReached | FaultClass::CreditsRequired => {
            "insufficient_quota"
        }
        FaultClass::RateLimit | FaultClass::Limited => "rate_limit_error",
        FaultClass::Overloaded | FaultClass::Unavailable => "service_unavailable_error",
        FaultClass::Timeout | FaultClass::Deadline => "timeout",
        FaultClass::Upstream | FaultClass::StreamBroken | FaultClass::Internal => "server_error",
    }
}

//! Problem documents (RFC 9457), the errors of `/v2`, `/v1/run` and every path without a dialect.

use bytes::Bytes;
use conversation::fault_text::{is_retryable, wait_sentence};
use domain::{Fault, FaultClass, TraceId};
use serde::Serialize;

pub(crate) const CONTENT_TYPE: &str = "application/problem+json";

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
    request_id: String,
    retryable: bool,
}

pub(crate) fn body(fault: &Fault, status: u16, trace: TraceId) -> Bytes {
    let problem = Problem {
        r#type: format!("/errors/{}", fault.code),
        title: title(fault.class),
        status,
        detail: format!("{}{}", fault.message, wait_sentence(fault)),
        code: fault.code,
        fix: fault.fix.as_deref(),
        param: fault.param.as_deref(),
        request_id: trace.to_string(),
        retryable: is_retryable(fault),
    };
    Bytes::from(serde_json::to_vec(&problem).unwrap_or_default())
}

const fn title(class: FaultClass) -> &'static str {
    match class {
        FaultClass::BadRequest => "The request is not valid",
        FaultClass::Unsupported => "The target doesn't support this",
        FaultClass::TooLarge => "The request is too large",
        FaultClass::ContextLength => "The prompt is longer than the model's context window",
        FaultClass::Unauthenticated => "Authentication failed",
        FaultClass::Forbidden => "This is not allowed",
        FaultClass::NotFound => "Not found",
        FaultClass::MethodNotAllowed => "The method is not allowed here",
        FaultClass::Gone => "The requested object is no longer available",
        FaultClass::NotAcceptable => "No accepted content type is available",
        FaultClass::MediaType => "The content type is not supported",
        FaultClass::ClientTimeout => "The request took too long to arrive",
        FaultClass::Conflict => "The request conflicts with the current state",
        FaultClass::Precondition => "The object has changed since it was read",
        FaultClass::UpstreamAuth => "The provider refuses the credential",
        FaultClass::UpstreamPermission => "The provider doesn't let this credential use the model",
        FaultClass::UpstreamNotFound => "The provider does not know the model",
        FaultClass::UpstreamQuota => "The provider account is out of quota",
        FaultClass::RateLimit => "The rate limit is reached",
        FaultClass::Overloaded => "The provider is overloaded",
        FaultClass::Timeout => "The provider timed out",
        FaultClass::Upstream => "The provider failed",
        FaultClass::StreamBroken => "The provider's response ended early",
        FaultClass::ContentPolicy => "The provider refuses the content",
        FaultClass::Deadline => "The deadline passed",
        FaultClass::Cancelled => "The client disconnected",
        FaultClass::Unavailable => "This is temporarily unavailable",
        FaultClass::Internal => "Tidegate failed",
        FaultClass::Limited => "A limit of this gateway is reached",
        FaultClass::BudgetReached => "A budget of this gateway is reached",
        FaultClass::CreditsRequired => "The workspace's credit is used up",
    }
}

//! Writes errors in Google's format, for Gemini clients.

use bytes::Bytes;
use conversation::fault_text::message;
use conversation::status::common;
use domain::{Fault, FaultClass, TraceId};
use serde::Serialize;

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: u16,
    message: &'a str,
    status: &'static str,
    details: Vec<Detail>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Detail {
    Retry {
        #[serde(rename = "@type")]
        kind: &'static str,
        #[serde(rename = "retryDelay")]
        delay: String,
    },
    Info {
        #[serde(rename = "@type")]
        kind: &'static str,
        reason: String,
        domain: &'static str,
    },
}

/// The body of an error response. In a stream it is a chunk: Google's SDKs look for `error` as the first
/// member.
pub fn error_body(fault: &Fault, status: u16, trace: TraceId) -> Bytes {
    let message = message(fault, trace);
    let mut details = vec![Detail::Info {
        kind: "type.googleapis.com/google.rpc.ErrorInfo",
        reason: fault.code.to_ascii_uppercase(),
        domain: "tidegate",
    }];
    if let Some(wait) = fault.retry_after_ms {
        let (seconds, rest) = (wait / 1000, wait % 1000);
        let delay = if rest == 0 { format!("{seconds}s") } else { format!("{seconds}.{rest:03}s") };
        details.push(Detail::Retry { kind: "type.googleapis.com/google.rpc.RetryInfo", delay });
    }
    let error = Body { code: status, message: &message, status: word(fault.class), details };
    Bytes::from(serde_json::to_vec(&Envelope { error }).unwrap_or_default())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blocked<'a> {
    prompt_feedback: Feedback<'a>,
    model_version: &'a str,
    response_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    block_reason: &'static str,
    block_reason_message: &'a str,
}

/// A response without candidates: in Gemini, a prompt that was blocked for its content is not an error.
pub fn blocked_body(fault: &Fault, model: &str, trace: TraceId) -> Vec<u8> {
    let message = message(fault, trace);
    let prompt_feedback = Feedback { block_reason: "PROHIBITED_CONTENT", block_reason_message: &message };
    let body = Blocked { prompt_feedback, model_version: model, response_id: trace.to_string() };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// `error.status`, in the words of Google's API.
const fn word(class: FaultClass) -> &'static str {
    match class {
        FaultClass::BadRequest
        | FaultClass::Unsupported
        | FaultClass::TooLarge
        | FaultClass::ContextLength
        | FaultClass::ContentPolicy
        | FaultClass::MethodNotAllowed
        | FaultClass::MediaType
        | FaultClass::NotAcceptable
        | FaultClass::Gone
        | FaultClass::ClientTimeout => "INVALID_ARGUMENT",
        FaultClass::Unauthenticated => "UNAUTHENTICATED",
        FaultClass::Forbidden | FaultClass::UpstreamPermission => "PERMISSION_DENIED",
        FaultClass::NotFound | FaultClass::UpstreamNotFound => "NOT_FOUND",
        FaultClass::Conflict => "ABORTED",
        FaultClass::Precondition => "FAILED_PRECONDITION",
        FaultClass::UpstreamQuota
        | FaultClass::CreditsRequired
        | FaultClass::RateLimit
        | FaultClass::Limited
        | FaultClass::BudgetReached => "RESOURCE_EXHAUSTED",
        FaultClass::Overloaded | FaultClass::Unavailable => "UNAVAILABLE",
        FaultClass::Timeout | FaultClass::Deadline => "DEADLINE_EXCEEDED",
        FaultClass::Cancelled => "CANCELLED",
        FaultClass::UpstreamAuth | FaultClass::Upstream | FaultClass::StreamBroken | FaultClass::Internal => {
            "INTERNAL"
        }
    }
}

/// The status code for a fault.
pub fn status(fault: &Fault) -> u16 {
    // Gemini's SDKs do not know 402.
    if fault.class == FaultClass::UpstreamQuota { 429 } else { common(fault) }
}

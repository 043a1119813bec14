//! Writes errors in Anthropic's format, for its clients.

use bytes::Bytes;
use conversation::fault_text::message;
use conversation::status::common;
use domain::{Fault, FaultClass, TraceId};
use serde::Serialize;

/// Agents search error messages for this phrase and shorten their prompt when they find it.
const TOO_LONG: &str = "prompt is too long";

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: &'static str,
    error: Body<'a>,
    request_id: String,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    message: &'a str,
}

/// The body of an error response, which is also the data of an `error` event.
pub fn error_body(fault: &Fault, trace: TraceId) -> Bytes {
    let mut message = message(fault, trace);
    if fault.class == FaultClass::ContextLength && !message.contains(TOO_LONG) {
        message = format!("{TOO_LONG}: {message}");
    }
    let error = Body { r#type: kind(fault.class), message: &message };
    let body = Envelope { r#type: "error", error, request_id: trace.to_string() };
    Bytes::from(serde_json::to_vec(&body).unwrap_or_default())
}

/// `error.type`, in the words of Anthropic's API.
const fn kind(class: FaultClass) -> &'static str {
    match class {
        FaultClass::BadRequest
        | FaultClass::Unsupported
        | FaultClass::ContextLength
        | FaultClass::ContentPolicy
        | FaultClass::MethodNotAllowed
        | FaultClass::MediaType
        | FaultClass::NotAcceptable
        | FaultClass::Gone
        | FaultClass::ClientTimeout
        | FaultClass::Precondition
        | FaultClass::Cancelled => "invalid_request_error",
        FaultClass::TooLarge => "request_too_large",
        FaultClass::Unauthenticated => "authentication_error",
        FaultClass::Forbidden | FaultClass::UpstreamPermission => "permission_error",
        FaultClass::NotFound | FaultClass::UpstreamNotFound => "not_found_error",
        FaultClass::Conflict => "conflict_error",
        FaultClass::UpstreamQuota | FaultClass::CreditsRequired => "billing_error",
        FaultClass::RateLimit | FaultClass::Limited | FaultClass::BudgetReached => "rate_limit_error",
        FaultClass::Overloaded | FaultClass::Unavailable => "overloaded_error",
        FaultClass::Timeout | FaultClass::Deadline => "timeout_error",
        FaultClass::UpstreamAuth | FaultClass::Upstream | FaultClass::StreamBroken | FaultClass::Internal => {
            "api_error"
        }
    }
}

/// The status code for a fault.
#[must_use]
pub fn status(fault: &Fault) -> u16 {
    if fault.class == FaultClass::Overloaded { 529 } else { common(fault) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_is_too_long_is_told_in_the_words_that_agents_look_for() {
        for (message, times) in
            [("the context is 8 tokens", 1), ("x: prompt is too long: 9 tokens > 8 maximum", 1)]
        {
            let fault = Fault::new(FaultClass::ContextLength, "context_length_exceeded", message);
            let body = error_body(&fault, TraceId::new(1, [0; 10]));
            let text = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(text.matches(TOO_LONG).count(), times, "{text}");
        }
        let other = Fault::new(FaultClass::BadRequest, "invalid_type", "no");
        assert!(!String::from_utf8_lossy(&error_body(&other, TraceId::new(1, [0; 10]))).contains(TOO_LONG));
    }
}

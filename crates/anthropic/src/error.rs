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
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
}

/// Anthropic's SDKs read this code: where a thread is lost they start another, and where there are none they send the whole
/// conversation each time. They have their own errors for files.
#[derive(Serialize)]
struct Details<'a> {
    error_code: &'a str,
}

/// The body of an error response, which is also the data of an `error` event.
pub fn error_body(fault: &Fault, trace: TraceId) -> Bytes {
    let mut message = message(fault, trace);
    if is_lost_thread(fault) {
        let text = fault.message.replace("previous_response_id", "previous_message_id");
        message = format!(
            "{text} Send the whole conversation with \"thread\": {{\"type\": \"create\"}}. (request id: {trace})"
        );
    }
    if fault.class == FaultClass::ContextLength && !message.contains(TOO_LONG) {
        message = format!("{TOO_LONG}: {message}");
    }
    let r#type = if is_lost_thread(fault) { "not_found_error" } else { kind(fault.class) };
    let error = Body { r#type, message: &message, details: details(fault) };
    let body = Envelope { r#type: "error", error, request_id: trace.to_string() };
    Bytes::from(serde_json::to_vec(&body).unwrap_or_default())
}

/// The answer that a thread is continued from isn't on record here, or only a seat that can't be used has it.
fn is_lost_thread(fault: &Fault) -> bool {
    matches!(fault.code, "previous_response_not_found" | "previous_response_unavailable")
}

fn details(fault: &Fault) -> Option<Details<'_>> {
    let report = fault.upstream.as_deref().and_then(|report| report.code.as_deref());
    let is_refused = matches!(fault.class, FaultClass::Unsupported | FaultClass::Forbidden);
    let is_read = |code: &&str| code.starts_with("thread_") || code.starts_with("file_");
    let error_code = match report.filter(is_read) {
        Some(code) => code,
        None if is_lost_thread(fault) => "thread_not_found",
        None if is_refused && fault.param.as_deref() == Some("thread") => "thread_unsupported_request",
        None => return None,
    };
    Some(Details { error_code })
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
pub fn status(fault: &Fault) -> u16 {
    match fault.class {
        FaultClass::Overloaded => 529,
        _ if is_lost_thread(fault) => 404,
        _ => common(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdks_can_tell_what_to_do_where_a_thread_cannot_go_on() {
        let told = |fault: &Fault| {
            let body: serde_json::Value =
                serde_json::from_slice(&error_body(fault, TraceId::new(1, [0; 10]))).unwrap();
            let word = |name: &str| body.pointer(name).and_then(|word| word.as_str()).map(str::to_owned);
            (status(fault), word("/error/type").unwrap(), word("/error/details/error_code"))
        };
        let translated = Fault::new(FaultClass::Unsupported, "unsupported_parameter", "x").param("thread");
        let refused = |code: &str| (400, "invalid_request_error".to_owned(), Some(code.to_owned()));
        assert_eq!(told(&translated), refused("thread_unsupported_request"));
        let lost = Fault::new(FaultClass::BadRequest, "previous_response_not_found", "x");
        assert_eq!(told(&lost), (404, "not_found_error".to_owned(), Some("thread_not_found".to_owned())));
        let body = br#"{"type":"error","error":{"type":"invalid_request_error","message":"m",
            "details":{"error_code":"thread_already_continued"}}}"#;
        let report = conversation::upstream_error::read_error(body);
        let of_provider = Fault::new(FaultClass::BadRequest, "invalid_request_error", "x").upstream(report);
        assert_eq!(told(&of_provider), refused("thread_already_continued"));
        let other = Fault::new(FaultClass::Unsupported, "unsupported_parameter", "x").param("container");
        assert_eq!(told(&other).2, None);
    }

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

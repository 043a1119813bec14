//! Errors as clients get them.

use dialects::{render_error, status};
use domain::{Dialect, Fault, FaultClass, TraceId, UpstreamReport};

fn trace() -> TraceId {
    TraceId::new(1_700_000_000_000, [7; 10])
}

fn json(fault: &Fault, dialect: Dialect) -> serde_json::Value {
    serde_json::from_slice(&render_error(fault, dialect, trace()).body).expect("JSON")
}

fn header(fault: &Fault, name: &str) -> Option<String> {
    let answer = render_error(fault, Dialect::Chat, trace());
    let found: Vec<_> = answer.headers.iter().filter(|(header, _)| header == name).collect();
    assert!(found.len() < 2, "{name} is doubled");
    found.first().map(|(_, value)| value.to_str().expect("text").to_owned())
}

#[test]
fn the_chat_form_ends_with_the_fix_and_the_request_id() {
    let fault = Fault::new(FaultClass::NotFound, "model_not_served", "Nothing offers \"x\".")
        .fix("Add a credential.")
        .param("model");
    let answer = render_error(&fault, Dialect::Chat, trace());
    assert_eq!((answer.status, answer.content_type), (404, "application/json"));
    let body = json(&fault, Dialect::Chat);
    let message = format!("Nothing offers \"x\". Add a credential. (request id: {})", trace());
    assert_eq!(body["error"]["message"], message);
    assert_eq!(body["error"]["type"], "invalid_request_error");
    assert_eq!(body["error"]["param"], "model");
    assert_eq!(body["error"]["code"], "model_not_served");
    assert_eq!(header(&fault, "x-request-id"), Some(trace().to_string()));
}

#[test]
fn the_native_form_is_a_problem_document() {
    let fault = Fault::new(FaultClass::Conflict, "alias_exists", "The alias is there.")
        .fix("Choose another.")
        .param("/alias");
    for dialect in [Dialect::Native, Dialect::Run] {
        let answer = render_error(&fault, dialect, trace());
        assert_eq!((answer.status, answer.content_type), (409, "application/problem+json"));
        let body = json(&fault, dialect);
        assert_eq!(body["type"], "/errors/alias_exists");
        assert_eq!(body["status"], 409);
        assert_eq!(body["detail"], "The alias is there.");
        assert_eq!(body["fix"], "Choose another.");
        assert_eq!(body["param"], "/alias");
        assert_eq!(body["request_id"], trace().to_string());
        assert_eq!(body["retryable"], false);
    }
}

#[test]
fn every_class_has_its_status_and_type() {
    use FaultClass as Class;
    for (class, expected, kind) in [
        (Class::BadRequest, 400, "invalid_request_error"),
        (Class::Unsupported, 400, "invalid_request_error"),
        (Class::TooLarge, 413, "invalid_request_error"),
        (Class::ContextLength, 400, "invalid_request_error"),
        (Class::Unauthenticated, 401, "invalid_request_error"),
        (Class::Forbidden, 403, "permission_error"),
        (Class::NotFound, 404, "invalid_request_error"),
        (Class::MethodNotAllowed, 405, "invalid_request_error"),
        (Class::MediaType, 415, "invalid_request_error"),
        (Class::NotAcceptable, 406, "invalid_request_error"),
        (Class::Gone, 410, "invalid_request_error"),
        (Class::ClientTimeout, 408, "invalid_request_error"),
        (Class::Conflict, 409, "invalid_request_error"),
        (Class::Precondition, 412, "invalid_request_error"),
        (Class::UpstreamAuth, 502, "upstream_error"),
        (Class::UpstreamPermission, 403, "permission_error"),
        (Class::UpstreamNotFound, 404, "invalid_request_error"),
        (Class::UpstreamQuota, 402, "insufficient_quota"),
        (Class::RateLimit, 429, "rate_limit_error"),
        (Class::Overloaded, 503, "service_unavailable_error"),
        (Class::Timeout, 504, "timeout"),
        (Class::Upstream, 502, "server_error"),
        (Class::StreamBroken, 502, "server_error"),
        (Class::ContentPolicy, 400, "invalid_request_error"),
        (Class::Deadline, 504, "timeout"),
        (Class::Cancelled, 499, "invalid_request_error"),
        (Class::Unavailable, 503, "service_unavailable_error"),
        (Class::Internal, 500, "server_error"),
    ] {
        let fault = Fault::new(class, "code", "Something.");
        assert_eq!(status(&fault, Dialect::Chat), expected, "{class:?}");
        assert_eq!(json(&fault, Dialect::Chat)["error"]["type"], kind, "{class:?}");
    }
}

#[test]
fn what_the_vendor_said_of_the_request_is_passed_on() {
    let report = UpstreamReport {
        status: Some(422),
        kind: Some("invalid_request_error".into()),
        code: Some("string_above_max_length".into()),
        param: Some("messages[0].content".into()),
        ..UpstreamReport::default()
    };
    let fault = Fault::new(FaultClass::BadRequest, "upstream_refused", "Too long.").upstream(report.clone());
    assert_eq!(status(&fault, Dialect::Chat), 422);
    let body = json(&fault, Dialect::Chat);
    assert_eq!(body["error"]["code"], "string_above_max_length");
    assert_eq!(body["error"]["param"], "messages[0].content");
    // An explicit null code from a vendor is passed on.
    for (upstream, code) in [
        (r#"{"error":{"message":"m","type":"invalid_request_error","param":null,"code":null}}"#, None),
        (r#"{"error":{"message":"m","type":"invalid_request_error"}}"#, Some("upstream_bad_request")),
    ] {
        let report = conversation::upstream_error::read_error(upstream.as_bytes());
        let fault = Fault::new(FaultClass::BadRequest, "upstream_bad_request", "m").upstream(report);
        assert_eq!(json(&fault, Dialect::Chat)["error"]["code"].as_str(), code, "{upstream}");
    }
    let ours = Fault::new(FaultClass::UpstreamAuth, "upstream_auth_failed", "Refused.").upstream(report);
    assert_eq!(json(&ours, Dialect::Chat)["error"]["code"], "upstream_auth_failed");
}

#[test]
fn waits_are_sent_capped_and_told_whole() {
    let fault = Fault::new(FaultClass::RateLimit, "rate_limit_exceeded", "Slow down.").retry_after_ms(1500);
    assert_eq!(header(&fault, "retry-after").as_deref(), Some("2"));
    assert_eq!(header(&fault, "retry-after-ms").as_deref(), Some("1500"));
    assert_eq!(header(&fault, "x-should-retry"), None);
    let long = fault.clone().retry_after_ms(3_600_000);
    assert_eq!(header(&long, "retry-after").as_deref(), Some("60"));
    assert_eq!(header(&long, "x-should-retry").as_deref(), Some("false"));
    let message = json(&long, Dialect::Chat)["error"]["message"].as_str().expect("text").to_owned();
    assert!(message.contains("3600 s"), "{message}");
    assert_eq!(header(&fault.clone().should_retry(false), "x-should-retry").as_deref(), Some("false"));
    assert_eq!(header(&fault.should_retry(true), "x-should-retry").as_deref(), Some("true"));
}

#[test]
fn an_error_in_a_stream_is_one_event() {
    let fault = Fault::new(FaultClass::StreamBroken, "stream_broken", "A\nB");
    let event = conversation::openai_error::error_event(&fault, trace());
    let text = std::str::from_utf8(&event).expect("UTF-8");
    let json = text.strip_prefix("data: ").and_then(|text| text.strip_suffix("\n\n")).expect("one event");
    assert!(!json.contains('\n'));
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(value["error"]["code"], "stream_broken");
}

#[test]
fn a_prompt_that_is_refused_for_its_content_is_an_answer_where_the_dialect_has_one() {
    let fault = Fault::new(FaultClass::ContentPolicy, "content_filter", "The provider refused the content.");
    let blocked = |stream, as_array| {
        let mut request = conversation::request::Request::default();
        (request.model, request.stream, request.as_array) = ("m".into(), stream, as_array);
        let answer =
            dialects::render_blocked(&fault, Dialect::Gemini, &request, trace()).expect("it has one");
        assert_eq!(answer.status, 200);
        (answer.content_type, String::from_utf8(answer.body.to_vec()).expect("UTF-8"))
    };
    let (kind, whole) = blocked(false, false);
    let response: serde_json::Value = serde_json::from_str(&whole).expect("JSON");
    let feedback = &response["promptFeedback"];
    assert_eq!((kind, feedback["blockReason"].as_str()), ("application/json", Some("PROHIBITED_CONTENT")));
    let words = feedback["blockReasonMessage"].as_str().expect("words");
    assert!(words.starts_with("The provider refused the content.") && words.contains(&trace().to_string()));
    assert_eq!((&response["modelVersion"], response.get("candidates")), (&"m".into(), None));
    assert_eq!(blocked(true, false), ("text/event-stream; charset=utf-8", format!("data: {whole}\r\n\r\n")));
    assert_eq!(blocked(true, true), ("application/json", format!("[{whole}]")));
    let request = conversation::request::Request::default();
    for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Anthropic, Dialect::Run] {
        assert!(dialects::render_blocked(&fault, dialect, &request, trace()).is_none(), "{dialect:?}");
    }
    let other = Fault::new(FaultClass::BadRequest, "invalid_type", "no");
    assert!(dialects::render_blocked(&other, Dialect::Gemini, &request, trace()).is_none());
}

//! How Bedrock's errors are classified.

use domain::FaultClass;

use crate::read_error;

#[track_caller]
fn check(status: u16, kind: &str, body: &str, code: &str, class: FaultClass) {
    let (report, read) = read_error(Some(status), Some(kind), body.as_bytes());
    assert_eq!((report.code.as_deref(), read), (Some(code), class), "{kind} {body}");
    assert_eq!(report.status, Some(status));
}

#[test]
fn the_name_of_an_exception_tells_its_class() {
    for (status, name, class) in [
        (429, "ThrottlingException", FaultClass::RateLimit),
        (429, "ModelNotReadyException", FaultClass::RateLimit),
        (400, "ServiceQuotaExceededException", FaultClass::UpstreamQuota),
        (403, "AccessDeniedException", FaultClass::UpstreamPermission),
        (403, "UnrecognizedClientException", FaultClass::UpstreamAuth),
        (403, "ExpiredTokenException", FaultClass::UpstreamAuth),
        (403, "InvalidSignatureException", FaultClass::UpstreamAuth),
        (404, "ResourceNotFoundException", FaultClass::UpstreamNotFound),
        (400, "ValidationException", FaultClass::BadRequest),
        (400, "ConflictException", FaultClass::Conflict),
        (408, "ModelTimeoutException", FaultClass::Timeout),
        (424, "ModelErrorException", FaultClass::Upstream),
        (500, "InternalServerException", FaultClass::Upstream),
        (503, "ServiceUnavailableException", FaultClass::Overloaded),
    ] {
        let address = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
        check(status, &address, r#"{"message":"m"}"#, name, class);
        // Some services put the name into the body, with its module.
        let body = format!(r#"{{"__type":"com.amazon.bedrock#{name}","Message":"m"}}"#);
        let (report, read) = read_error(Some(status), None, body.as_bytes());
        assert_eq!((report.code.as_deref(), read), (Some(name), class));
        assert_eq!(report.message.is_none(), class == FaultClass::UpstreamAuth, "a key may be in it");
    }
}

#[test]
fn the_message_tells_what_the_name_does_not() {
    let refused = |message: &str, class| {
        let body = serde_json::json!({ "message": message }).to_string();
        check(400, "ValidationException", &body, "ValidationException", class);
    };
    refused("Input is too long for requested model.", FaultClass::ContextLength);
    refused(
        "The model returned the following errors: prompt is too long: 205000 tokens > 200000 maximum",
        FaultClass::ContextLength,
    );
    refused(
        "Invocation of model ID anthropic.claude-x with on-demand throughput isn’t supported.",
        FaultClass::UpstreamNotFound,
    );
    refused("The provided model identifier is invalid.", FaultClass::UpstreamNotFound);
    refused("Operation not allowed", FaultClass::UpstreamPermission);
    let key = r#"{"Message":"Authentication failed: Please make sure your API Key is valid."}"#;
    check(403, "AccessDeniedException", key, "AccessDeniedException", FaultClass::UpstreamAuth);
    let day = r#"{"message":"Too many tokens per day, please wait before trying again."}"#;
    check(429, "ThrottlingException", day, "ThrottlingException", FaultClass::UpstreamQuota);
}

#[test]
fn what_the_model_s_own_server_answered_tells_whose_fault_it_was() {
    for (original, class) in [
        (r#""originalStatusCode":500"#, FaultClass::Upstream),
        (r#""originalStatusCode":429"#, FaultClass::RateLimit),
        (r#""originalStatusCode":400"#, FaultClass::BadRequest),
        (r#""resourceName":"x""#, FaultClass::Upstream),
    ] {
        let body = format!(r#"{{"message":"m",{original}}}"#);
        check(424, "ModelErrorException", &body, "ModelErrorException", class);
    }
}

#[test]
fn without_a_name_the_status_tells() {
    for (status, body, class) in [
        (503, "<html>", FaultClass::Overloaded),
        (502, "", FaultClass::Upstream),
        (429, "{}", FaultClass::RateLimit),
        (403, r#"{"message":"m"}"#, FaultClass::UpstreamPermission),
    ] {
        assert_eq!(read_error(Some(status), None, body.as_bytes()).1, class, "{status}");
        // A malformed exception name is ignored.
        assert_eq!(read_error(Some(status), Some("<b>"), body.as_bytes()).1, class, "{status}");
    }
}

//! Classifies Bedrock's errors beyond what the Converse format tells: a wrong clock, and what would fix a
//! refusal.

use bytes::Bytes;
use converse::read_error;
use domain::limits::UPSTREAM_REQUEST_ID_BYTES_MAX;
use domain::{FaultClass, UpstreamReport};
use http::HeaderMap;

use crate::{Classified, classify, missing};

const KIND: &str = "x-amzn-errortype";
const REQUEST_ID: &str = "x-amzn-requestid";
const PROFILE: &str = " Name an inference profile in the place of the model: us., eu., apac. or global. before its id, or the \
                       profile's ARN.";
const LOCATION: &str = " Where the account is asked there may be no such profile: name another part of the world in config.location, \
                     such as global.";
const CLOCK: &str = "The provider finds that the request was signed too early or too late. Correct the clock of the machine \
                     that Tidegate runs on.";

pub(crate) fn classify(status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut classified = classify::classify(status, headers, body, provider);
    let id = text(REQUEST_ID).filter(|id| id.len() <= UPSTREAM_REQUEST_ID_BYTES_MAX).map(str::to_owned);
    let (mut report, class) = read_error(Some(status), text(KIND), body);
    let words = String::from_utf8_lossy(body);
    classified.class = refine(class, &mut report, &words);
    // A wrong clock here is reported as such.
    let is_of_account = classified.class != FaultClass::Upstream;
    classified.fix = missing::amazon(report.code.as_deref(), &words).filter(|_| is_of_account);
    // One exception name covers many reasons. Where the class already states the reason, the name would hide
    // it.
    if matches!(
        classified.class,
        FaultClass::ContextLength | FaultClass::Unsupported | FaultClass::ContentPolicy
    ) {
        report.code = None;
    }
    classified.report = UpstreamReport {
        provider: std::mem::take(&mut classified.report.provider),
        request_id: id.or(classified.report.request_id.take()),
        ..report
    };
    classified
}

/// Classifies by the message where the exception name is ambiguous, and edits the report to match.
fn refine(class: FaultClass, report: &mut UpstreamReport, words: &str) -> FaultClass {
    let has_any = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    match (report.code.as_deref().unwrap_or_default(), class) {
        // A wrong clock here is not the fault of the keys.
        ("InvalidSignatureException", _) if has_any(&["Signature expired", "Signature not yet current"]) => {
            report.message = Some(CLOCK.to_owned());
            FaultClass::Upstream
        }
        ("AccessDeniedException", _) if has_any(&["Bearer Token"]) => {
            report.message = None;
            FaultClass::UpstreamAuth
        }
        ("AccessDeniedException", _) if has_any(&["INVALID_PAYMENT_INSTRUMENT"]) => FaultClass::UpstreamQuota,
        (_, FaultClass::UpstreamNotFound) if has_any(&["on-demand throughput isn"]) => {
            report.message.get_or_insert_default().push_str(PROFILE);
            class
        }
        (_, FaultClass::UpstreamNotFound) if has_any(&["model identifier is invalid"]) => {
            report.message.get_or_insert_default().push_str(LOCATION);
            class
        }
        (_, FaultClass::BadRequest) if has_any(&["blocked by our content filters"]) => {
            FaultClass::ContentPolicy
        }
        (_, FaultClass::BadRequest) if has_any(&["doesn't support", "does not support"]) => {
            FaultClass::Unsupported
        }
        _ => class,
    }
}

#[cfg(test)]
mod tests {
    use FaultClass as Class;

    use super::*;

    fn classified(status: u16, kind: &'static str, body: &'static str) -> Classified {
        let mut headers = HeaderMap::new();
        headers.insert(KIND, kind.parse().unwrap());
        headers.insert(REQUEST_ID, "r-1".parse().unwrap());
        let found = classify(status, &headers, &Bytes::from_static(body.as_bytes()), "aws_bedrock");
        assert_eq!(found.report.request_id.as_deref(), Some("r-1"));
        found
    }

    #[test]
    fn every_exception_has_a_class() {
        for (status, kind, class) in [
            (403, "AccessDeniedException", Class::UpstreamPermission),
            (404, "ResourceNotFoundException", Class::UpstreamNotFound),
            (400, "ValidationException", Class::BadRequest),
            (400, "ServiceQuotaExceededException", Class::UpstreamQuota),
            (400, "ConflictException", Class::Conflict),
            (429, "ThrottlingException", Class::RateLimit),
            (429, "ModelNotReadyException", Class::RateLimit),
            (408, "ModelTimeoutException", Class::Timeout),
            (424, "ModelErrorException", Class::Upstream),
            (424, "ModelStreamErrorException", Class::Upstream),
            (500, "InternalServerException", Class::Upstream),
            (503, "ServiceUnavailableException", Class::Overloaded),
            (403, "UnrecognizedClientException", Class::UpstreamAuth),
            (403, "ExpiredTokenException", Class::UpstreamAuth),
            (403, "InvalidSignatureException", Class::UpstreamAuth),
            (418, "NewException", Class::BadRequest),
        ] {
            let found = classified(status, kind, r#"{"message":"m"}"#);
            assert_eq!((found.class, found.report.code.as_deref()), (class, Some(kind)), "{kind}");
            // An authentication error's message may contain the key, so it is withheld.
            let message = Some("m").filter(|_| class != Class::UpstreamAuth);
            assert_eq!(found.report.message.as_deref(), message, "{kind}");
        }
        let long = "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/";
        assert_eq!(classified(429, long, "{}").report.code.as_deref(), Some("ThrottlingException"));
        let body = Bytes::from_static(
            br#"{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"m"}"#,
        );
        assert_eq!(classify(403, &HeaderMap::new(), &body, "x").class, Class::UpstreamAuth);
        assert_eq!(
            classify(502, &HeaderMap::new(), &Bytes::from_static(b"<html>"), "x").class,
            Class::Upstream
        );
    }

    #[test]
    fn words_tell_what_the_kind_leaves_open() {
        let class = |kind: &'static str, body: &'static str| classified(400, kind, body).class;
        let invalid = |body| class("ValidationException", body);
        assert_eq!(invalid(r#"{"message":"Input is too long for requested model."}"#), Class::ContextLength);
        assert_eq!(
            invalid(r#"{"message":"The provided model identifier is invalid."}"#),
            Class::UpstreamNotFound
        );
        assert_eq!(invalid(r#"{"message":"Operation not allowed"}"#), Class::UpstreamPermission);
        assert_eq!(invalid(r#"{"message":"This model doesn't support tool use."}"#), Class::Unsupported);
        let denied = |body| class("AccessDeniedException", body);
        assert_eq!(
            denied(r#"{"Message":"Authentication failed: Please make sure your API Key is valid."}"#),
            Class::UpstreamAuth
        );
        assert_eq!(denied(r#"{"Message":"Bearer Token has expired"}"#), Class::UpstreamAuth);
        let unpaid = r#"{"message":"Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided."}"#;
        assert_eq!(denied(unpaid), Class::UpstreamQuota);
        assert_eq!(
            class("ThrottlingException", r#"{"message":"Too many tokens per day"}"#),
            Class::UpstreamQuota
        );
        let own = r#"{"message":"m","originalStatusCode":400}"#;
        assert_eq!(class("ModelErrorException", own), Class::BadRequest);
    }

    #[test]
    fn what_helps_is_said_where_the_service_does_not() {
        let body =
            "{\"message\":\"Invocation of model ID x with on-demand throughput isn\u{2019}t supported.\"}";
        let found = classified(400, "ValidationException", body);
        assert_eq!(found.class, Class::UpstreamNotFound);
        assert!(found.report.message.unwrap().contains("inference profile"));
        let nowhere = r#"{"message":"The provided model identifier is invalid."}"#;
        let found = classified(400, "ValidationException", nowhere);
        assert!(found.report.message.unwrap().contains("config.location"));
        let late =
            r#"{"message":"Signature expired: 20261121T081500Z is now earlier than 20261121T082500Z"}"#;
        let found = classified(403, "InvalidSignatureException", late);
        assert_eq!(found.class, Class::Upstream);
        assert!(found.report.message.as_deref() == Some(CLOCK));
    }

    #[test]
    fn what_was_signed_is_not_repeated() {
        let body = r#"{"message":"The request signature we calculated does not match.\n\nThe Canonical String was x-amz-security-token:canary"}"#;
        let found = classified(403, "InvalidSignatureException", body);
        assert_eq!(found.class, Class::UpstreamAuth);
        assert!(!format!("{found:?}").contains("canary"), "{found:?}");
    }
}

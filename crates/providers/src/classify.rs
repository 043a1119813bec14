//! What an upstream's failure means: its class, what it said, and when it may be asked again.

use bytes::Bytes;
use dialects::chat::{class_of, read_error};
use domain::FaultClass;
use domain::limits::UPSTREAM_REQUEST_ID_BYTES_MAX;
use http::HeaderMap;

use crate::Classified;
use crate::retry_after::{reset_ms, retry_after_ms};

pub(crate) fn classify(status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
    let mut report = read_error(body);
    let class = class_of(Some(status), &report);
    report.status = Some(status);
    provider.clone_into(&mut report.provider);
    report.request_id = text(headers, "x-request-id")
        .or_else(|| text(headers, "request-id"))
        .filter(|id| !id.is_empty() && id.len() <= UPSTREAM_REQUEST_ID_BYTES_MAX)
        .map(str::to_owned);
    // Vendors repeat parts of the key that they refuse; the class says all that is to be said.
    if class == FaultClass::UpstreamAuth {
        report.message = None;
    }
    let wait = retry_after_ms(headers, None);
    Classified {
        class,
        report,
        retry_after_ms: wait.or_else(|| reset_ms(headers).filter(|_| class == FaultClass::RateLimit)),
        should_retry: match text(headers, "x-should-retry") {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        },
        fix: None,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultClass as Class;

    fn check(status: u16, body: &'static str, expected: Class) {
        let classified =
            classify(status, &HeaderMap::new(), &Bytes::from_static(body.as_bytes()), "somewhere");
        assert_eq!(classified.class, expected, "{status} {body}");
        assert_eq!(classified.report.provider, "somewhere");
        assert_eq!(classified.report.status, Some(status));
    }

    #[test]
    fn every_status_has_a_class() {
        check(400, "{}", Class::BadRequest);
        check(401, "{}", Class::UpstreamAuth);
        check(402, "{}", Class::UpstreamQuota);
        check(403, "{}", Class::UpstreamPermission);
        check(404, "{}", Class::UpstreamNotFound);
        check(408, "{}", Class::Timeout);
        check(409, "{}", Class::Conflict);
        check(412, "{}", Class::BadRequest);
        check(413, "{}", Class::TooLarge);
        check(422, "{}", Class::BadRequest);
        check(429, "{}", Class::RateLimit);
        check(500, "{}", Class::Upstream);
        check(502, "<html>bad gateway</html>", Class::Upstream);
        check(503, "", Class::Overloaded);
        check(504, "", Class::Timeout);
        check(529, "", Class::Overloaded);
        check(302, "", Class::Upstream);
        check(418, "", Class::BadRequest);
        check(204, "", Class::Upstream);
        check(520, "", Class::Upstream);
    }

    #[test]
    fn what_is_said_is_more_precise_than_the_status() {
        check(429, r#"{"error":{"code":"insufficient_quota"}}"#, Class::UpstreamQuota);
        check(429, r#"{"error":{"code":"credit_balance_exhausted"}}"#, Class::UpstreamQuota);
        check(
            429,
            r#"{"error":{"type":"billing_hard_limit_reached","code":"billing_hard_limit_reached"}}"#,
            Class::UpstreamQuota,
        );
        check(429, r#"{"error":{"code":"rate_limit_exceeded","type":"tokens"}}"#, Class::RateLimit);
        check(429, r#"{"error":{"code":null,"type":"insufficient_quota"}}"#, Class::UpstreamQuota);
        check(400, r#"{"error":{"code":"context_length_exceeded"}}"#, Class::ContextLength);
        check(
            400,
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","code":400}"#,
            Class::ContextLength,
        );
        check(400, r#"{"error":{"code":"content_filter"}}"#, Class::ContentPolicy);
        check(400, r#"{"error":{"code":"moderation_blocked"}}"#, Class::ContentPolicy);
        check(
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
            Class::ContentPolicy,
        );
        check(400, r#"{"error":"Incorrect API key provided: abc"}"#, Class::UpstreamAuth);
        check(400, r#"{"error":{"code":"unsupported_parameter"}}"#, Class::Unsupported);
        check(403, r#"{"error":{"code":"unsupported_country_region_territory"}}"#, Class::UpstreamPermission);
        check(500, r#"{"error":{"code":"server_is_overloaded"}}"#, Class::Overloaded);
        check(500, r#"{"error":{"message":"invalid api key in our own backend"}}"#, Class::Upstream);
    }

    #[test]
    fn every_shape_of_error_is_read() {
        let message = |body: &'static str| {
            classify(400, &HeaderMap::new(), &Bytes::from_static(body.as_bytes()), "x").report.message
        };
        assert_eq!(message(r#"{"error":{"message":"m"}}"#).as_deref(), Some("m"));
        assert_eq!(message(r#"{"error":"m"}"#).as_deref(), Some("m"));
        assert_eq!(message(r#"{"detail":"m"}"#).as_deref(), Some("m"));
        assert_eq!(message(r#"{"message":"m","object":"error"}"#).as_deref(), Some("m"));
        assert_eq!(message(r#"[{"error":{"message":"m"}}]"#).as_deref(), Some("m"));
        assert_eq!(message(r#"{"code":"c","error":"m"}"#).as_deref(), Some("m"));
        assert_eq!(message("plain words").as_deref(), Some("plain words"));
        assert_eq!(message("<html>page</html>"), None);
        assert_eq!(message(""), None);
        assert_eq!(
            message(r#"{"detail":[{"loc":["body"],"msg":"m"}]}"#).as_deref(),
            Some(r#"[{"loc":["body"],"msg":"m"}]"#)
        );
    }

    #[test]
    fn a_key_is_never_repeated() {
        let body = r#"{"error":{"message":"Incorrect API key provided: sk-canary12345. Mend it."}}"#;
        let refused = classify(401, &HeaderMap::new(), &Bytes::from_static(body.as_bytes()), "x");
        assert_eq!(refused.report.message, None);
        let body = r#"{"error":{"message":"the key \"sk-canary12345\" may not do this"}}"#;
        let refused = classify(403, &HeaderMap::new(), &Bytes::from_static(body.as_bytes()), "x");
        assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");
    }

    #[test]
    fn headers_tell_the_wait_and_the_id() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().expect("a value"));
        headers.insert("x-should-retry", "false".parse().expect("a value"));
        headers.insert("x-request-id", "req_1".parse().expect("a value"));
        let classified = classify(429, &headers, &Bytes::new(), "x");
        assert_eq!(classified.retry_after_ms, Some(7000));
        assert_eq!(classified.should_retry, Some(false));
        assert_eq!(classified.report.request_id.as_deref(), Some("req_1"));
    }
}

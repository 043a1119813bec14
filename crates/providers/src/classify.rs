//! Classifies an upstream's error: fault class, message, and when to retry.

use bytes::Bytes;
use conversation::upstream_error::{class_of, read_error};
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
    // Vendors repeat parts of a rejected key, so the message is dropped; the class says enough.
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
        is_of_account: false,
    }
}

/// Words by which providers say that a key is invalid or no longer valid.
const OF_KEYS: [&str; 25] = [
    "accountdeactivated",
    "account_deactivated",
    "api key expired",
    "api key not valid",
    "api_key_expired",
    "api_key_invalid",
    "authentication_error",
    "authentication failed: please make sure you have a valid api key",
    "bearer token",
    "expired_api_key",
    "expiredtoken",
    "incorrect api key",
    "invalid api key",
    "invalid authentication credentials",
    "invalid subscription key",
    "invalid x-api-key",
    "invalid_api_key",
    "invalidaccesskeyid",
    "invalidclienttokenid",
    "no user found for key",
    "signature we calculated does not match",
    "signaturedoesnotmatch",
    "token_expired",
    "token_revoked",
    "unrecognizedclient",
];
/// Words by which they say that the account may not spend more.
const OF_BILLS: [&str; 6] =
    ["insufficient_quota", "billing", "credit", "spend_limit", "balance", "suspended"];
/// Words by which they say so of a single request or model: a smaller or another one would be paid for.
const OF_REQUESTS: [&str; 3] = ["max_tokens", "invalid_payment_instrument", "per day"];

/// Whether the account itself was refused, so that no further request with it can succeed. An error in other
/// words may concern this request alone, and one client's request must not disable an account for all others.
pub fn is_of_account(class: FaultClass, headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = text(headers, "x-amzn-errortype").unwrap_or_default();
    let message = [kind, &String::from_utf8_lossy(body)].join(" ").to_ascii_lowercase();
    let has_any = |words: &[&str]| words.iter().any(|words| message.contains(words));
    match class {
        FaultClass::UpstreamAuth => has_any(&OF_KEYS),
        FaultClass::UpstreamQuota => has_any(&OF_BILLS) && !has_any(&OF_REQUESTS),
        _ => false,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use FaultClass as Class;

    use super::*;

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
        for of_request in [
            r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: model.request. Check that you have the correct role.","type":"invalid_request_error","param":null,"code":null}}"#,
            r#"{"error":{"message":"Missing scopes: api.model.moderation.write","code":"missing_scope"}}"#,
            r#"{"error":{"message":"Your IP is not authorized to access this resource.","code":"ip_not_authorized"}}"#,
            r#"{"error":{"message":"OpenAI-Project header should match project for API key","code":"mismatched_project"}}"#,
            r#"{"error":{"message":"Your organization must be verified to use the model","code":"invalid_organization"}}"#,
            r#"{"error":{"type":"permission_error","message":"No."}}"#,
        ] {
            check(401, of_request, Class::UpstreamPermission);
        }
        check(400, r#"{"error":{"code":"unsupported_parameter"}}"#, Class::Unsupported);
        check(403, r#"{"error":{"code":"unsupported_country_region_territory"}}"#, Class::UpstreamPermission);
        check(500, r#"{"error":{"code":"server_is_overloaded"}}"#, Class::Overloaded);
        check(500, r#"{"error":{"message":"invalid api key in our own backend"}}"#, Class::Upstream);
    }

    #[test]
    fn an_account_is_given_up_only_for_what_is_said_of_itself() {
        let amazons = |kind: &'static str| {
            HeaderMap::from_iter([("x-amzn-errortype".parse().unwrap(), kind.parse().unwrap())])
        };
        let none = HeaderMap::new();
        for (class, headers, body, is_of_account) in [
            (
                Class::UpstreamAuth,
                &none,
                r#"{"error":{"message":"Incorrect API key provided: sk-*","code":"invalid_api_key"}}"#,
                true,
            ),
            (
                Class::UpstreamAuth,
                &none,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
                true,
            ),
            (
                Class::UpstreamAuth,
                &none,
                r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
                true,
            ),
            (
                Class::UpstreamAuth,
                &none,
                r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}"#,
                true,
            ),
            (
                Class::UpstreamAuth,
                &amazons("UnrecognizedClientException"),
                r#"{"message":"The security token included in the request is invalid."}"#,
                true,
            ),
            (Class::UpstreamAuth, &none, r#"{"detail":"No user found for Key ID and Secret"}"#, true),
            (Class::UpstreamAuth, &none, r#"{"detail":"Unauthorized"}"#, false),
            (Class::UpstreamAuth, &none, "", false),
            (Class::UpstreamPermission, &none, r#"{"error":{"code":"invalid_api_key"}}"#, false),
            (Class::UpstreamQuota, &none, r#"{"error":{"code":"insufficient_quota"}}"#, true),
            (Class::UpstreamQuota, &none, r#"{"error":{"message":"Your credit balance is too low"}}"#, true),
            (
                Class::UpstreamQuota,
                &none,
                r#"{"error":{"code":402,"message":"This request requires more credits, or fewer max_tokens."}}"#,
                false,
            ),
            (
                Class::UpstreamQuota,
                &none,
                r#"{"message":"Too many tokens per day, please wait before trying again."}"#,
                false,
            ),
            (Class::UpstreamQuota, &none, r#"{"message":"INVALID_PAYMENT_INSTRUMENT: billing"}"#, false),
            (Class::UpstreamQuota, &none, "{}", false),
        ] {
            assert_eq!(super::is_of_account(class, headers, body.as_bytes()), is_of_account, "{body}");
        }
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

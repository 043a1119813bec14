//! Classifies fal's errors: a text or a list under `detail`, with types in the body and the headers.

use bytes::Bytes;
use domain::FaultClass;
use domain::limits::{UPSTREAM_REQUEST_ID_BYTES_MAX, UPSTREAM_WORD_BYTES_MAX};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::REQUEST_ID;
use crate::{Classified, classify};

const ERROR_TYPE: &str = "x-fal-error-type";
const RETRYABLE: &str = "x-fal-retryable";
/// Present when the client's own time limit ended the request.
const TIMEOUT_TYPE: &str = "x-fal-request-timeout-type";
const TOP_UP: &str = "Top up the account's balance in fal's dashboard, under Billing.";
const LOCKED: &str = "Ask fal's support to unlock the account.";
const WRONG_KEY: &str =
    "Rotate the credential with a key of fal's dashboard, whole: its id, a colon and its secret.";

/// One validation error.
#[derive(Deserialize)]
struct Wrong {
    #[serde(default)]
    loc: Vec<Value>,
    #[serde(default)]
    msg: String,
    #[serde(default, rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Refusal {
    detail: Option<Value>,
    error_type: Option<String>,
}

pub(super) fn classify(status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let mut classified = classify::classify(status, headers, body, provider);
    let id = text(REQUEST_ID).filter(|id| !id.is_empty() && id.len() <= UPSTREAM_REQUEST_ID_BYTES_MAX);
    classified.report.request_id = id.map(str::to_owned).or(classified.report.request_id.take());
    let refusal = serde_json::from_slice(body).unwrap_or(Refusal { detail: None, error_type: None });
    let wrong = refusal.detail.and_then(first);
    let kind = refusal.error_type.or_else(|| text(ERROR_TYPE).map(str::to_owned));
    let kind = kind.or_else(|| wrong.as_ref().map(|wrong| wrong.kind.clone()));
    let report = &mut classified.report;
    report.kind = kind.filter(|kind| !kind.is_empty() && kind.len() <= UPSTREAM_WORD_BYTES_MAX);
    if let Some(wrong) = wrong.filter(|_| report.message.is_some()) {
        report.param = Some(param_path(&wrong.loc)).filter(|path| !path.is_empty());
        // The generic report has already redacted keys in the message, but shows it as part of a list.
        report.message = conversation::upstream_error::read_error(wrong.msg.as_bytes()).message;
    }
    let message = report.message.as_deref().unwrap_or_default();
    match (status, report.kind.as_deref()) {
        (_, Some("content_policy_violation")) => classified.class = FaultClass::ContentPolicy,
        (403, _) if message.contains("Exhausted balance") || message.contains("TOP_UP") => {
            classified.class = FaultClass::UpstreamQuota;
            classified.fix = Some(TOP_UP.to_owned());
        }
        (403, _) if message.contains("User is locked") => classified.fix = Some(LOCKED.to_owned()),
        (401, _) => classified.fix = Some(WRONG_KEY.to_owned()),
        _ => {}
    }
    classified.should_retry =
        should_retry(status, text(RETRYABLE), text(TIMEOUT_TYPE).is_some(), id.is_some());
    classified
}

/// Suggests a retry for errors that no app produced, and never for a request that ran into the client's own
/// time limit.
fn should_retry(status: u16, retryable: Option<&str>, is_limited: bool, is_answered: bool) -> Option<bool> {
    match (status, retryable) {
        (504, _) if is_limited => Some(false),
        (_, Some("true" | "1")) => Some(true),
        (_, Some("false" | "0")) => Some(false),
        (502..=504, _) if is_answered => Some(false),
        _ => None,
    }
}

fn first(detail: Value) -> Option<Wrong> {
    match detail {
        Value::Array(wrong) => serde_json::from_value(wrong.into_iter().next()?).ok(),
        _ => None,
    }
}

/// `["body", "image_size", "width"]` becomes `image_size.width`.
fn param_path(loc: &[Value]) -> String {
    let words = loc.iter().skip_while(|word| *word == "body").map(|word| match word {
        Value::String(word) => word.clone(),
        other => other.to_string(),
    });
    words.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use FaultClass as Class;

    use super::*;

    fn classified(status: u16, heads: &[(&'static str, &'static str)], body: &'static str) -> Classified {
        let heads = heads.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers: HeaderMap = heads.collect();
        classify(status, &headers, &Bytes::from_static(body.as_bytes()), "fal")
    }

    #[test]
    fn every_shape_of_a_refusal_has_its_class() {
        let policy = r#"{"detail":[{"loc":["body","prompt"],"msg":"The content could not be processed because it contained material flagged by a content checker.","type":"content_policy_violation","url":"https://docs.fal.ai/errors#content_policy_violation"}]}"#;
        for (status, body, class) in [
            (401, r#"{"detail":"No user found for Key ID and Secret"}"#, Class::UpstreamAuth),
            (
                403,
                r#"{"detail":"User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."}"#,
                Class::UpstreamQuota,
            ),
            (
                403,
                r#"{"detail":"User is locked. Reason: Admin lock. Please contact support@fal.ai"}"#,
                Class::UpstreamPermission,
            ),
            (404, r#"{"detail":"Application \"x\" not found"}"#, Class::UpstreamNotFound),
            (422, policy, Class::ContentPolicy),
            (
                422,
                r#"{"detail":[{"loc":["body","prompt"],"msg":"Field required","type":"missing"}]}"#,
                Class::BadRequest,
            ),
            (429, r#"{"detail":"Too many requests"}"#, Class::RateLimit),
            (500, r#"{"detail":"Internal Server Error"}"#, Class::Upstream),
            (503, r#"{"detail":"No runner","error_type":"runner_scheduling_failure"}"#, Class::Overloaded),
            (504, r#"{"detail":"Request timed out","error_type":"request_timeout"}"#, Class::Timeout),
            (502, "<html>nginx</html>", Class::Upstream),
        ] {
            assert_eq!(classified(status, &[], body).class, class, "{status} {body}");
        }
    }

    #[test]
    fn a_list_is_told_by_its_first_in_the_clients_words() {
        let body = r#"{"detail":[{"loc":["body","image_size","width"],"msg":"Input should be less than or equal to 14142","type":"less_than_equal"},{"loc":[],"msg":"b","type":"c"}]}"#;
        let report = classified(422, &[("x-fal-request-id", "r-1")], body).report;
        assert_eq!(report.message.as_deref(), Some("Input should be less than or equal to 14142"));
        assert_eq!(
            (report.param.as_deref(), report.kind.as_deref()),
            (Some("image_size.width"), Some("less_than_equal"))
        );
        assert_eq!(report.request_id.as_deref(), Some("r-1"));
    }

    #[test]
    fn what_an_app_has_answered_is_not_asked_again_unless_it_says_so() {
        let id = ("x-fal-request-id", "r-1");
        let retry =
            |status, heads: &[(&'static str, &'static str)]| classified(status, heads, "{}").should_retry;
        assert_eq!(retry(503, &[]), None);
        assert_eq!(retry(503, &[id]), Some(false));
        assert_eq!(retry(503, &[id, ("x-fal-retryable", "true")]), Some(true));
        assert_eq!(retry(429, &[id]), None);
        assert_eq!(
            retry(504, &[("x-fal-request-timeout-type", "user"), ("x-fal-retryable", "true")]),
            Some(false)
        );
        assert_eq!(retry(500, &[("x-fal-retryable", "false")]), Some(false));
    }

    #[test]
    fn a_refused_key_is_never_repeated() {
        let refused = classified(401, &[], r#"{"detail":"No user found for Key ID canary"}"#);
        assert_eq!(refused.report.message, None);
        assert!(refused.fix.is_some());
    }
}

//! Google's errors in their envelope: `{"error":{code,message,status,details}}`.

use serde::Serialize;
use serde_json::Value;

use crate::emulator::Behaviour;

const DOMAIN: &str = "googleapis.com";
const SERVICE: &str = "generativelanguage.googleapis.com";

/// An error before it is serialised.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) status: &'static str,
    pub(crate) message: String,
    pub(crate) details: Vec<Detail>,
}

/// The typed details that clients parse.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "@type")]
pub(crate) enum Detail {
    #[serde(rename = "type.googleapis.com/google.rpc.ErrorInfo")]
    ErrorInfo { reason: &'static str, domain: &'static str, metadata: Metadata },
    #[serde(rename = "type.googleapis.com/google.rpc.BadRequest", rename_all = "camelCase")]
    BadRequest { field_violations: Vec<FieldViolation> },
    #[serde(rename = "type.googleapis.com/google.rpc.RetryInfo", rename_all = "camelCase")]
    RetryInfo { retry_delay: String },
    #[serde(rename = "type.googleapis.com/google.rpc.QuotaFailure")]
    QuotaFailure { violations: Vec<QuotaViolation> },
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Metadata {
    service: &'static str,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct FieldViolation {
    pub(crate) field: String,
    pub(crate) description: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QuotaViolation {
    quota_metric: &'static str,
    quota_id: &'static str,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: u16,
    message: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "<[Detail]>::is_empty")]
    details: &'a [Detail],
}

impl ApiError {
    pub(crate) fn new(code: u16, status: &'static str, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into(), details: Vec::new() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "INVALID_ARGUMENT", message)
    }

    /// An error about one field, in the words of Google's field validation.
    pub(crate) fn at(path: &str, why: &str) -> Self {
        Self::invalid(format!("* GenerateContentRequest.{path}: {why}\n"))
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "NOT_FOUND", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "INTERNAL", message)
    }

    pub(crate) fn bad_request(field_violations: Vec<FieldViolation>) -> Self {
        let lines: Vec<&str> = field_violations.iter().map(|one| one.description.as_str()).collect();
        Self::invalid(lines.join("\n")).detail(Detail::BadRequest { field_violations })
    }

    pub(crate) fn no_key() -> Self {
        Self::new(
            403,
            "PERMISSION_DENIED",
            "The method doesn't allow unregistered callers. Please use an API key.",
        )
    }

    pub(crate) fn wrong_key() -> Self {
        Self::invalid("API key not valid. Please pass a valid API key.").info("API_KEY_INVALID")
    }

    pub(crate) fn foreign_credentials() -> Self {
        Self::new(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
            .info("ACCESS_TOKEN_TYPE_UNSUPPORTED")
    }

    /// Gemini sends no `retry-after` header: the delay is only in the body.
    pub(crate) fn rate_limited(retry_after_ms: Option<u64>) -> Self {
        let error = Self::exhausted("Resource has been exhausted (e.g. check quota).");
        let Some(ms) = retry_after_ms else { return error };
        let seconds = ms / 1000;
        let fraction = format!(".{:03}", ms % 1000);
        let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
        error.detail(Detail::RetryInfo { retry_delay: format!("{seconds}{fraction}s") })
    }

    pub(crate) fn out_of_quota() -> Self {
        Self::exhausted("You exceeded your current quota, please check your plan and billing details.")
            .detail(Detail::QuotaFailure {
                violations: vec![QuotaViolation {
                    quota_metric: "generativelanguage.googleapis.com/generate_requests_per_day",
                    quota_id: "GenerateRequestsPerDayPerProjectPerModel",
                }],
            })
    }

    /// The message and details of a scripted status.
    pub(crate) fn scripted(code: u16, behaviour: &Behaviour) -> Self {
        let quota = behaviour.code.as_deref() == Some("insufficient_quota");
        let seconds = behaviour.retry_after.as_deref().and_then(|text| text.parse::<u64>().ok());
        let date = behaviour.retry_after_date.and_then(|seconds| u64::try_from(seconds).ok());
        let ms = behaviour.retry_after_ms.or(seconds.or(date).map(|seconds| seconds.saturating_mul(1000)));
        let mut error = match code {
            429 if quota => Self::out_of_quota(),
            429 => Self::rate_limited(ms),
            401 => Self::foreign_credentials(),
            503 => Self::new(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
            400..500 => Self::new(code, status_of(code), "The request cannot be served."),
            _ => Self::new(code, status_of(code), "An internal error has occurred. Please retry or report."),
        };
        if behaviour.code.as_deref() == Some("API_KEY_INVALID") {
            error = Self { code, ..Self::wrong_key() };
        } else if let Some(named) = behaviour.code.as_deref().and_then(known_status) {
            error.status = named;
        }
        if let Some(message) = &behaviour.message {
            error.message.clone_from(message);
        }
        error
    }

    /// The error that ends a stream; its code follows from the scripted status name.
    pub(crate) fn in_stream(behaviour: &Behaviour) -> Self {
        let named = behaviour.code.as_deref().and_then(known_status).unwrap_or("INTERNAL");
        let code = STATUSES.iter().find(|(_, status)| *status == named).map_or(500, |(code, _)| *code);
        Self::scripted(code, behaviour)
    }

    /// The envelope; `error` is its first key, as clients need it.
    pub(crate) fn body(&self) -> Value {
        let error =
            Body { code: self.code, message: &self.message, status: self.status, details: &self.details };
        serde_json::to_value(Envelope { error }).unwrap_or_default()
    }

    /// The error's name in the journal.
    pub(crate) fn name(&self) -> String {
        let reason = self.details.iter().find_map(|detail| match detail {
            Detail::ErrorInfo { reason, .. } => Some(*reason),
            _ => None,
        });
        reason.unwrap_or(self.status).to_owned()
    }

    fn exhausted(message: &str) -> Self {
        Self::new(429, "RESOURCE_EXHAUSTED", message)
    }

    fn info(self, reason: &'static str) -> Self {
        self.info_of(SERVICE, reason)
    }

    /// Adds the error reason of another Google service.
    pub(crate) fn info_of(self, service: &'static str, reason: &'static str) -> Self {
        self.detail(Detail::ErrorInfo { reason, domain: DOMAIN, metadata: Metadata { service } })
    }

    fn detail(mut self, detail: Detail) -> Self {
        self.details.push(detail);
        self
    }
}

#[rustfmt::skip]
const STATUSES: &[(u16, &str)] = &[
    (400, "INVALID_ARGUMENT"), (400, "FAILED_PRECONDITION"), (401, "UNAUTHENTICATED"),
    (403, "PERMISSION_DENIED"), (404, "NOT_FOUND"), (409, "ABORTED"), (429, "RESOURCE_EXHAUSTED"),
    (499, "CANCELLED"), (500, "INTERNAL"), (503, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED"),
];

fn status_of(code: u16) -> &'static str {
    let fallback = if (400..500).contains(&code) { "FAILED_PRECONDITION" } else { "INTERNAL" };
    STATUSES.iter().find(|(known, _)| *known == code).map_or(fallback, |(_, status)| status)
}

fn known_status(name: &str) -> Option<&'static str> {
    STATUSES.iter().map(|(_, status)| *status).find(|status| *status == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_seconds_with_their_fraction() {
        for (ms, expected) in [(34_074, "34.074s"), (1_500, "1.5s"), (7_000, "7s"), (20, "0.02s")] {
            let body = ApiError::rate_limited(Some(ms)).body();
            assert_eq!(body["error"]["details"][0]["retryDelay"], expected);
        }
    }

    #[test]
    fn the_error_is_the_first_key_of_its_envelope() {
        assert!(ApiError::internal("x").body().to_string().starts_with(r#"{"error":{"code":500,"#));
    }
}

//! fal's errors: a string or a list under `detail`, and an error type.

use serde_json::{Value, json};

use crate::emulator::Behaviour;
use crate::openai::error::ApiError;

#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) kind: Option<String>,
    detail: Value,
    retry_after_ms: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: u16, detail: &str) -> Self {
        Self { status, kind: None, detail: detail.into(), retry_after_ms: None }
    }

    /// A validation error, in a list with its location.
    pub(super) fn wrong(loc: &[&str], kind: &str, message: &str) -> Self {
        let url = format!("https://docs.fal.ai/errors#{kind}");
        let wrong = json!({"loc": loc, "msg": message, "type": kind, "url": url});
        Self { detail: json!([wrong]), ..Self::new(422, "") }
    }

    pub(super) fn no_key() -> Self {
        Self::new(401, "Authentication is required to access this application.")
    }

    pub(super) fn wrong_key() -> Self {
        Self::new(401, "No user found for Key ID and Secret")
    }

    pub(super) fn locked() -> Self {
        let detail =
            "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing.";
        Self::new(403, detail)
    }

    pub(super) fn limited(retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::new(429, "Too many requests") }
    }

    pub(super) fn policy() -> Self {
        let message =
            "The content could not be processed because it contained material flagged by a content checker.";
        Self::wrong(&["body", "prompt"], "content_policy_violation", message)
    }

    /// The error of a status, with the script's own words: `code` is the error type.
    pub(super) fn scripted(status: u16, behaviour: &Behaviour) -> Self {
        let (detail, kind) = match status {
            401 => return Self::wrong_key(),
            403 if behaviour.message.is_none() => return Self::locked(),
            422 => ("Input should be valid", None),
            429 => ("Too many requests", None),
            500 => ("Internal Server Error", Some("internal_error")),
            502 => ("Bad gateway", Some("runner_connection_error")),
            503 => ("No runner could be allocated", Some("runner_scheduling_failure")),
            504 => ("Request timed out", Some("request_timeout")),
            _ => ("The request failed", None),
        };
        let detail = behaviour.message.as_deref().unwrap_or(detail);
        let kind = behaviour.code.clone().or_else(|| kind.map(str::to_owned));
        match status {
            422 => Self::wrong(&["body"], kind.as_deref().unwrap_or("value_error"), detail),
            _ => Self { kind, ..Self::new(status, detail) },
        }
    }

    pub(super) fn body(&self) -> Value {
        match &self.kind {
            Some(kind) => json!({"detail": self.detail, "error_type": kind}),
            None => json!({"detail": self.detail}),
        }
    }

    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let kind = self.kind.clone().map(|kind| ("x-fal-error-type".to_owned(), kind));
        let wait =
            self.retry_after_ms.map(|wait| ("retry-after".to_owned(), wait.div_ceil(1_000).to_string()));
        kind.into_iter().chain(wait).collect()
    }
}

/// The emulator's own failures are reported as OpenAI-style errors; this translates them.
impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::new(error.status, &error.message)
    }
}

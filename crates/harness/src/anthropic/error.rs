//! Anthropic's errors, in its words and format.

use serde_json::{Value, json};

use crate::emulator::Behaviour;
use crate::emulator::service::{Answer, Call, json_answer};
use crate::members::put;
use crate::openai::error::ApiError;

#[rustfmt::skip]
const KINDS: &[&str] = &[
    "invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error",
    "conflict_error", "request_too_large", "rate_limit_error", "api_error", "timeout_error",
    "overloaded_error",
];

/// An error: a status, the body's fields, and its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) message: String,
    /// `details.error_code`, which few errors have.
    code: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Refusal {
    pub(crate) fn new(status: u16, kind: &str, message: impl Into<String>) -> Self {
        Self { status, kind: kind.to_owned(), message: message.into(), code: None, headers: Vec::new() }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// An error at a path in the body, such as `messages.0.content`.
    pub(crate) fn at(path: &str, message: impl std::fmt::Display) -> Self {
        Self::bad(format!("{path}: {message}"))
    }

    pub(crate) fn wrong_key() -> Self {
        Self::new(401, "authentication_error", "invalid x-api-key")
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "not_found_error", message)
    }

    pub(crate) fn model_not_found(model: &str) -> Self {
        Self::not_found(format!("model: {model}"))
    }

    pub(crate) fn no_thread() -> Self {
        Self { code: Some("thread_not_found".to_owned()), ..Self::not_found("Thread not found") }
    }

    pub(crate) fn not_downloadable(id: &str) -> Self {
        let refusal = Self::bad(format!("File '{id}' is not downloadable."));
        Self { code: Some("file_not_downloadable".to_owned()), ..refusal }
    }

    pub(crate) fn no_credit() -> Self {
        Self::new(
            402,
            "billing_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or \
             purchase credits.",
        )
    }

    pub(crate) fn rate_limited(retry_after_ms: u64) -> Self {
        let mut refusal = Self::of_status(429);
        refusal.headers.push(("retry-after".to_owned(), retry_after_ms.div_ceil(1000).to_string()));
        refusal
    }

    /// Anthropic's error for a status, with the script's own words where it sets them.
    pub(crate) fn scripted(status: u16, behaviour: &Behaviour) -> Self {
        let mut refusal = Self::of_status(status);
        match &behaviour.code {
            Some(kind) if KINDS.contains(&kind.as_str()) => refusal.kind.clone_from(kind),
            code => refusal.code.clone_from(code),
        }
        if let Some(message) = &behaviour.message {
            refusal.message.clone_from(message);
        }
        refusal
    }

    pub(crate) fn body(&self, request_id: &str) -> Value {
        let mut error = json!({"type": self.kind, "message": self.message});
        if let Some(code) = &self.code {
            put(&mut error, "details", json!({"error_code": code}));
        }
        json!({"type": "error", "error": error, "request_id": request_id})
    }

    /// The response to a rejected request, whichever cloud received it.
    pub(crate) fn answer(&self, call: &Call<'_>) -> Answer {
        call.guard.note(|entry| entry.error_code = Some(self.kind.clone()));
        json_answer(self.status, self.headers.clone(), &self.body(call.request_id))
    }

    fn of_status(status: u16) -> Self {
        let (kind, message) = match status {
            401 => ("authentication_error", "invalid x-api-key"),
            402 => (
                "billing_error",
                "Your account has a billing problem. Please check your payment information.",
            ),
            403 => {
                ("permission_error", "Your API key does not have permission to use the specified resource.")
            }
            404 => ("not_found_error", "Not found"),
            409 => ("conflict_error", "The request conflicts with another one."),
            413 => ("request_too_large", "Request exceeds the maximum size"),
            429 => (
                "rate_limit_error",
                "This request would exceed your organization's rate limit. Please try again later.",
            ),
            400..500 => ("invalid_request_error", "The request is invalid."),
            504 => ("timeout_error", "The request timed out."),
            529 => ("overloaded_error", "Overloaded"),
            _ => ("api_error", "Internal server error"),
        };
        Self::new(status, kind, message)
    }
}

/// The emulator's own failures are reported as OpenAI-style errors; this translates them.
impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::new(error.status, "api_error", error.message)
    }
}

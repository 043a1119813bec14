//! Bedrock's errors, in its words and format: the exception type in a header, the message in the body.

use serde_json::{Value, json};

use crate::emulator::Behaviour;
use crate::openai::error::ApiError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) message: String,
    /// The status that a failed model itself returned.
    original: Option<u16>,
}

impl Refusal {
    pub(crate) fn new(status: u16, kind: &str, message: impl Into<String>) -> Self {
        Self { status, kind: kind.to_owned(), message: message.into(), original: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationException", message)
    }

    /// An invalid value at this path.
    pub(crate) fn at(path: &str, message: impl std::fmt::Display) -> Self {
        Self::invalid(format!("The model returned the following errors: {path}: {message}"))
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(403, "AccessDeniedException", message)
    }

    pub(crate) fn unknown_token() -> Self {
        Self::new(
            403,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
    }

    pub(crate) fn expired() -> Self {
        Self::new(403, "ExpiredTokenException", "The security token included in the request is expired")
    }

    pub(crate) fn signature(message: impl Into<String>) -> Self {
        Self::new(403, "InvalidSignatureException", message)
    }

    pub(crate) fn throttled() -> Self {
        Self::new(429, "ThrottlingException", "Too many requests, please wait before trying again.")
    }

    pub(crate) fn daily() -> Self {
        Self::new(429, "ThrottlingException", "Too many tokens per day, please wait before trying again.")
    }

    pub(crate) fn unpaid() -> Self {
        Self::denied(
            "Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided.",
        )
    }

    /// The exception of a status, with the script's own words: `code` is the exception type.
    pub(crate) fn scripted(status: u16, behaviour: &Behaviour) -> Self {
        let (kind, message) = match status {
            403 => {
                ("AccessDeniedException", "You don't have access to the model with the specified model ID.")
            }
            404 => (
                "ResourceNotFoundException",
                "Could not resolve the foundation model from the provided model identifier.",
            ),
            408 => (
                "ModelTimeoutException",
                "Model has timed out in processing the request. Try your request again.",
            ),
            424 => (
                "ModelErrorException",
                "The system encountered an unexpected error during processing. Try your request again.",
            ),
            429 => ("ThrottlingException", "Too many requests, please wait before trying again."),
            503 => ("ServiceUnavailableException", "Bedrock is unable to process your request."),
            400..500 => {
                ("ValidationException", "Malformed input request, please reformat your input and try again.")
            }
            _ => (
                "InternalServerException",
                "The system encountered an unexpected error during processing. Try your request again.",
            ),
        };
        let kind = behaviour.code.as_deref().unwrap_or(kind);
        let message = behaviour.message.as_deref().unwrap_or(message);
        Self { original: (status == 424).then_some(500), ..Self::new(status, kind, message) }
    }

    /// Errors raised before a request reaches its operation spell `Message` with a capital.
    pub(crate) fn body(&self) -> Value {
        match self.kind.as_str() {
            "AccessDeniedException" => json!({"Message": self.message}),
            _ => match self.original {
                Some(status) => json!({"message": self.message, "originalStatusCode": status}),
                None => json!({"message": self.message}),
            },
        }
    }

    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let kind = format!("{}:http://internal.amazon.com/coral/com.amazon.bedrock/", self.kind);
        vec![("x-amzn-errortype".to_owned(), kind)]
    }
}

/// The emulator's own failures are reported as OpenAI-style errors; this translates them.
impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let kind = if error.status < 500 { "ValidationException" } else { "InternalServerException" };
        Self::new(error.status, kind, error.message)
    }
}

//! OpenAI's errors, in its words and format.

use serde_json::{Value, json};

use super::flavour::Flavour;
use crate::{azure, mistral};

/// An error: a status, the body's four fields, and its headers.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) kind: &'static str,
    pub(crate) param: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

impl ApiError {
    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), kind, param: None, code: None, headers: Vec::new() }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// An error about this parameter, with its code.
    pub(crate) fn at(self, param: impl Into<String>, code: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self.code(code) }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The body in the vendor's format.
    pub(crate) fn body(&self, flavour: Flavour) -> Value {
        match flavour {
            Flavour::OpenAi | Flavour::Together => {
                json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
            }
            Flavour::Azure => azure::error_body(self),
            Flavour::Mistral => mistral::error_body(self),
            Flavour::Server(server) => server.error_body(self),
            Flavour::Xai => json!({"code": grpc_words(self.status), "error": self.message}),
            Flavour::Fireworks => json!({"error": {
                "object": "error", "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
            }}),
        }
    }

    pub(crate) fn no_key() -> Self {
        Self::new(
            401,
            "invalid_request_error",
            "You didn't provide an API key. You need to provide your API key in an Authorization header using \
             Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        )
    }

    /// Shows the key's first and last characters exactly as OpenAI does: a gateway that passes this message
    /// on leaks them.
    pub(crate) fn wrong_key(key: &str) -> Self {
        let length = key.chars().count();
        let head: String = key.chars().take(8).collect();
        let tail: String = key.chars().skip(length.saturating_sub(4)).collect();
        let stars = "*".repeat(length.saturating_sub(12).max(4));
        Self::new(
            401,
            "invalid_request_error",
            format!(
                "Incorrect API key provided: {head}{stars}{tail}. You can find your API key in your account."
            ),
        )
        .code("invalid_api_key")
    }

    pub(crate) fn out_of_quota() -> Self {
        Self::new(
            429,
            "insufficient_quota",
            "You exceeded your current quota, please check your plan and billing details.",
        )
        .code("insufficient_quota")
    }

    /// Fireworks' response to every call of an account that has not paid.
    pub(crate) fn suspended() -> Self {
        Self::new(
            412,
            "invalid_request_error",
            "Account emulator is suspended, possibly due to reaching the monthly spending limit or failure to pay past \
             invoices.",
        )
        .code("PRECONDITION_FAILED")
    }

    pub(crate) fn rate_limited(retry_after_ms: u64) -> Self {
        Self::new(
            429,
            "requests",
            format!("Rate limit reached for requests. Please try again in {retry_after_ms}ms."),
        )
        .code("rate_limit_exceeded")
        .header("retry-after", retry_after_ms.div_ceil(1000).to_string())
        .header("retry-after-ms", retry_after_ms.to_string())
    }

    pub(crate) fn invalid_url(method: &str, path: &str) -> Self {
        Self::new(404, "invalid_request_error", format!("Invalid URL ({method} {path})"))
    }

    pub(crate) fn wrong_method(method: &str, path: &str) -> Self {
        Self::new(405, "invalid_request_error", format!("Not allowed to {method} on {path}."))
            .code("method_not_supported")
    }

    pub(crate) fn model_not_found(model: &str) -> Self {
        Self::new(
            404,
            "invalid_request_error",
            format!("The model `{model}` does not exist or you do not have access to it."),
        )
        .code("model_not_found")
    }

    pub(crate) fn forbidden_header(name: &str) -> Self {
        Self::bad(format!("Header '{name}' must not be sent to this API.")).code("forbidden_header")
    }

    pub(crate) fn unknown_argument(name: &str) -> Self {
        Self::bad(format!("Unrecognized request argument supplied: {name}"))
    }

    pub(crate) fn unknown_parameter(name: &str) -> Self {
        Self::bad(format!("Unknown parameter: '{name}'.")).at(name, "unknown_parameter")
    }

    pub(crate) fn missing(param: &str) -> Self {
        Self::bad(format!("Missing required parameter: '{param}'.")).at(param, "missing_required_parameter")
    }

    pub(crate) fn wrong_type(param: &str, expected: &str, got: &Value) -> Self {
        Self::bad(format!(
            "Invalid type for '{param}': expected {expected}, but got {} instead.",
            name_of(got)
        ))
        .at(param, "invalid_type")
    }

    pub(crate) fn wrong_value(param: &str, value: &str, supported: &[&str]) -> Self {
        let list = supported.iter().map(|one| format!("'{one}'")).collect::<Vec<_>>().join(", ");
        Self::bad(format!("Invalid value: '{value}'. Supported values are: {list}."))
            .at(param, "invalid_value")
    }

    pub(crate) fn unsupported(param: &str, hint: &str) -> Self {
        Self::bad(format!("Unsupported parameter: '{param}' is not supported with this model.{hint}"))
            .at(param, "unsupported_parameter")
    }
}

/// xAI's `code` is the description of a gRPC status.
fn grpc_words(status: u16) -> &'static str {
    match status {
        401 => "The request does not have valid authentication credentials for the operation",
        403 => "The caller does not have permission to execute the specified operation",
        404 => "Some requested entity was not found",
        429 => "Some resource has been exhausted",
        500.. => "The service is currently unavailable",
        _ => "Client specified an invalid argument",
    }
}

/// OpenAI's name for a JSON value's type in error messages.
fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

//! Answers in OAuth's own form.

use bytes::Bytes;
use domain::{Fault, FaultClass};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

/// Why a client gets nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub error: &'static str,
    pub description: String,
}

impl Refusal {
    pub(crate) fn bad(error: &'static str, description: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description: description.to_owned() }
    }

    /// A code or token that is unknown, used, too old or somebody else's: which of these is nobody's business.
    pub(crate) fn grant() -> Self {
        Self::bad("invalid_grant", "It is unknown, used, too old, or another client's.")
    }
}

impl From<Box<Fault>> for Refusal {
    fn from(fault: Box<Fault>) -> Self {
        let (status, error) = match fault.class {
            FaultClass::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            FaultClass::RateLimit | FaultClass::Limited => {
                (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable")
            }
            FaultClass::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
            _ => (StatusCode::BAD_REQUEST, "invalid_request"),
        };
        Self { status, error, description: fault.message.to_string() }
    }
}

pub(crate) fn written(status: StatusCode, document: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(document.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    written(refusal.status, &json!({"error": refusal.error, "error_description": refusal.description}))
}

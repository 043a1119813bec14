//! What a call is answered with, and why one failed.

use bytes::Bytes;
use domain::{Dialect, Fault, FaultClass};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

const JSON: &str = "application/json";

/// What a call is answered with.
pub struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    pub fn json(value: &Value) -> Self {
        Self::file(JSON, Bytes::from(value.to_string()))
    }

    pub fn created(value: &Value) -> Self {
        Self { status: StatusCode::CREATED, ..Self::json(value) }
    }

    pub fn file(content_type: &'static str, body: Bytes) -> Self {
        Self { status: StatusCode::OK, content_type, body, headers: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response.headers_mut().extend(self.headers);
        response
    }
}

/// Why a call failed: an error of `/v2`, or one of this crate.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: String,
    pub message: String,
    pub fix: Option<String>,
    pub param: Option<String>,
    pub retry_after: Option<Box<HeaderValue>>,
}

impl From<Box<Fault>> for Refusal {
    fn from(fault: Box<Fault>) -> Self {
        let status = match fault.code {
            // No class of faults means that an API as a whole lacks a call.
            "no_counterpart" => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::from_u16(dialects::status(&fault, Dialect::Native))
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        Self {
            status,
            code: fault.code.to_owned(),
            message: fault.message.to_string(),
            fix: fault.fix.as_deref().map(str::to_owned),
            param: fault.param.as_deref().map(str::to_owned),
            retry_after: None,
        }
    }
}

impl Refusal {
    /// An error that `/v2` answered with.
    pub fn of(response: &Response<Bytes>) -> Self {
        let problem: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            status: response.status(),
            code: text("code").unwrap_or_else(|| "internal_error".to_owned()),
            message: text("detail").unwrap_or_else(|| "The request failed.".to_owned()),
            fix: text("fix"),
            param: text("param"),
            retry_after: response.headers().get(RETRY_AFTER).cloned().map(Box::new),
        }
    }

    /// The 501 of a call that has no counterpart, which says what to use.
    pub fn instead(what: &str, instead: &'static str) -> Self {
        let what: String = what.chars().take(200).collect();
        let message = format!("Tidegate does not have what {what} asks for.");
        let fault = Fault::new(FaultClass::Unsupported, "no_counterpart", message);
        Self::from(Box::new(fault.fix(instead)))
    }

    /// The same with a field's name as the client wrote it.
    pub fn renamed(mut self, ours: &str, theirs: &str) -> Self {
        if self.param.as_deref() == Some(ours) {
            self.param = Some(theirs.to_owned());
        }
        self.message = self.message.replace(ours, theirs);
        self
    }
}

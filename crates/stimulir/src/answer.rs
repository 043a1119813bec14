//! Errors in the form that the client reads.

use bytes::Bytes;
use compat::answer::Refusal;
use domain::TraceId;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http_body_util::Full;
use serde_json::json;

/// One error in two of the forms that the client takes: as the inference paths write it, with the code where the device login
/// looks for it.
pub(crate) fn write(refusal: Refusal, trace: TraceId) -> Response<Full<Bytes>> {
    let Refusal { status, code, message, fix, param, retry_after } = refusal;
    let message = fix.as_ref().map_or_else(|| message.clone(), |fix| format!("{message} {fix}"));
    let body = json!({
        "error": {
            "message": message, "code": code, "param": param, "fix": fix, "request_id": trace.to_string(),
        },
        "detail": {"error": code, "message": message},
    });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(after) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, *after);
    }
    response
}

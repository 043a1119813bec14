//! Answers in the client's envelopes, and errors as problem documents.

use bytes::Bytes;
use compat::answer::Refusal;
use domain::TraceId;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{HeaderName, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::json;

const VERSION: HeaderName = HeaderName::from_static("x-api-version");

/// What answers are wrapped in, which clients choose with `X-API-Version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Envelope {
    Newest,
    /// Version 2: the document alone.
    Bare,
    /// Version 1.
    Success,
}

impl Envelope {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(VERSION).and_then(|version| version.to_str().ok()).map(str::trim) {
            Some("1") => Self::Success,
            Some("2") => Self::Bare,
            _ => Self::Newest,
        }
    }
}

/// An answer in its envelope. Its body is a JSON document already.
pub(crate) async fn wrapped(response: Response<Full<Bytes>>, envelope: Envelope) -> Response<Full<Bytes>> {
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    let (before, after): (&[u8], &[u8]) = match envelope {
        Envelope::Newest => (b"{\"success\":true,\"status\":200,\"data\":", b",\"messages\":[]}"),
        Envelope::Bare => (b"", b""),
        Envelope::Success => (b"{\"success\":true,\"status\":200,\"data\":", b"}"),
    };
    let whole = [before, &body.to_bytes(), after].concat();
    Response::from_parts(head, Full::new(whole.into()))
}

/// A problem document (RFC 9457), as every error that these clients get.
pub(crate) fn write(refusal: Refusal, trace: TraceId) -> Response<Full<Bytes>> {
    let Refusal { status, code, message, fix, param, retry_after } = refusal;
    let detail = fix.as_ref().map_or_else(|| message.clone(), |fix| format!("{message} {fix}"));
    let problem = json!({
        "type": "about:blank", "title": status.canonical_reason().unwrap_or("Error"), "status": status.as_u16(),
        "detail": detail, "code": code, "param": param, "fix": fix, "request_id": trace.to_string(),
    });
    let mut response = Response::new(Full::new(Bytes::from(problem.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(after) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, *after);
    }
    response
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn each_version_has_its_envelope() {
        let of = |version: &'static str| {
            Envelope::of(&[(VERSION, HeaderValue::from_static(version))].into_iter().collect())
        };
        assert_eq!((of("1"), of("2"), of("3")), (Envelope::Success, Envelope::Bare, Envelope::Newest));
        assert_eq!(Envelope::of(&HeaderMap::new()), Envelope::Newest);
    }

    #[test]
    fn an_error_is_a_problem_document_with_its_fix() {
        let response = write(Refusal::instead("skills", "Write instructions."), TraceId::new(7, [7; 10]));
        assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }
}

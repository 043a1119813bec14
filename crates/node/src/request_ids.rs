//! The ids of a request: the node's own, and that of the gateway that it came through.

use domain::TraceId;
use http::HeaderMap;
use http::header::HeaderName;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestIds {
    pub trace: TraceId,
    /// The gateway's id of the request, if it came through one.
    pub request: Option<TraceId>,
}

impl RequestIds {
    pub(crate) fn of(trace: TraceId, headers: &HeaderMap) -> Self {
        let request = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()?.parse().ok());
        Self { trace, request }
    }
}

//! The ids of a request: the node's own, and that of the gateway that it came through.

use domain::TraceId;
use http::header::HeaderName;
use http::request::Parts;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestIds {
    pub trace: TraceId,
    /// The gateway's id of the request, if it came through one.
    pub request: Option<TraceId>,
    /// A program on this machine sent it, and no gateway.
    pub is_local: bool,
}

/// Marks the head of a request whose connection comes from this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FromThisMachine;

impl RequestIds {
    pub(crate) fn of(trace: TraceId, head: &Parts) -> Self {
        let request = head.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()?.parse().ok());
        let is_local = request.is_none() && head.extensions.get::<FromThisMachine>().is_some();
        Self { trace, request, is_local }
    }
}

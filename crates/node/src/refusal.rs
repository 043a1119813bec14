//! Error responses in the dialect of the request.

use dialects::render_error;
use domain::{Dialect, Fault, TraceId};
use http::{Response, StatusCode};

use crate::body::NodeBody;
use crate::json_body::typed_response;

/// The code for paths that this version does not serve.
pub(crate) const LATER: &str = "not_of_this_version";

/// Status codes for fault codes whose class is too coarse.
const STATUS_OVERRIDES: [(&str, StatusCode); 7] = [
    (LATER, StatusCode::NOT_IMPLEMENTED),
    ("loop_detected", StatusCode::LOOP_DETECTED),
    ("no_mesh", StatusCode::NOT_IMPLEMENTED),
    ("training_not_served", StatusCode::NOT_IMPLEMENTED),
    ("invalid_adapter", StatusCode::UNPROCESSABLE_ENTITY),
    ("adapter_limit", StatusCode::UNPROCESSABLE_ENTITY),
    ("invalid_scope", StatusCode::UNPROCESSABLE_ENTITY),
];

pub(crate) fn refuse(fault: &Fault, dialect: Dialect, trace: TraceId) -> Response<NodeBody> {
    let rendered = render_error(fault, dialect, trace);
    let mut answer = typed_response(rendered.content_type, NodeBody::whole(rendered.body));
    let overridden =
        STATUS_OVERRIDES.into_iter().find(|(code, _)| *code == fault.code).map(|(_, status)| status);
    let status = overridden.or_else(|| StatusCode::from_u16(rendered.status).ok());
    *answer.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in rendered.headers {
        answer.headers_mut().insert(name, value);
    }
    answer
}

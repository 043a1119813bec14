//! Answers a request with an error before a tab is open or an upstream is called: renders it in the client's
//! dialect and counts it.

use domain::{Dialect, Fault, RateLimitStates, TraceId};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use relay::served_headers;
use settle::{ReplyBody, whole};

use crate::Core;

/// The response to a fault.
pub fn refuse(core: &Core, dialect: Dialect, fault: &Fault, trace: TraceId) -> Response<ReplyBody> {
    with_standings(core, dialect, fault, &RateLimitStates::default(), trace)
}

/// The response to a fault, with the client's rate limit headers.
pub(crate) fn with_standings(
    core: &Core,
    dialect: Dialect,
    fault: &Fault,
    standings: &RateLimitStates,
    trace: TraceId,
) -> Response<ReplyBody> {
    core.counters.refused(fault.code);
    let answer = dialects::render_error(fault, dialect, trace);
    core.counters.answered(answer.status);
    let mut headers = served_headers(trace, None);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    for (name, value) in answer.headers.into_iter().chain(dialects::rate_limit_headers(dialect, standings)) {
        headers.insert(name, value);
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    whole(status, headers, answer.body)
}

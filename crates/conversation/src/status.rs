//! The one table of status codes: what each fault class is answered with, unless a dialect has another.

use domain::{Fault, FaultClass};

/// The client closed the connection; only logs and records show this status.
const CLIENT_CLOSED: u16 = 499;

/// Statuses that refine "the request is wrong": none has a fault class of its own, and none is about the
/// connection.
const fn is_bad_request_status(status: u16) -> bool {
    matches!(status, 405 | 406 | 410..=418 | 422..=424 | 428 | 431 | 451)
}

/// The status code for a fault.
pub fn common(fault: &Fault) -> u16 {
    match fault.class {
        // The provider's own status decides which exception an SDK raises.
        FaultClass::BadRequest => {
            let reported = fault.upstream.as_ref().and_then(|report| report.status);
            reported.filter(|status| is_bad_request_status(*status)).unwrap_or(400)
        }
        FaultClass::Unsupported | FaultClass::ContextLength | FaultClass::ContentPolicy => 400,
        FaultClass::Unauthenticated => 401,
        FaultClass::UpstreamQuota | FaultClass::CreditsRequired => 402,
        FaultClass::Forbidden | FaultClass::UpstreamPermission => 403,
        FaultClass::NotFound | FaultClass::UpstreamNotFound => 404,
        FaultClass::MethodNotAllowed => 405,
        FaultClass::NotAcceptable => 406,
        FaultClass::Gone => 410,
        FaultClass::ClientTimeout => 408,
        FaultClass::Conflict => 409,
        FaultClass::Precondition => 412,
        FaultClass::TooLarge => 413,
        FaultClass::MediaType => 415,
        FaultClass::RateLimit | FaultClass::Limited | FaultClass::BudgetReached => 429,
        FaultClass::Cancelled => CLIENT_CLOSED,
        FaultClass::Internal => 500,
        FaultClass::UpstreamAuth | FaultClass::Upstream | FaultClass::StreamBroken => 502,
        FaultClass::Overloaded | FaultClass::Unavailable => 503,
        FaultClass::Timeout | FaultClass::Deadline => 504,
    }
}

//! The one table of statuses: what a client of each dialect is answered for each class of fault.

use domain::{Dialect, Fault, FaultClass};

/// A status that says the client closed the connection; nobody reads it but logs and records.
const CLIENT_CLOSED: u16 = 499;

/// The status that a fault is answered with. The dialects of today agree; the argument is there because
/// those to come don't.
#[must_use]
pub fn status(fault: &Fault, _dialect: Dialect) -> u16 {
    match fault.class {
        // The provider's own shade of "your request is wrong" decides which exception an SDK raises.
        FaultClass::BadRequest => {
            let said = fault.upstream.as_ref().and_then(|report| report.status);
            said.filter(|status| matches!(status, 413 | 415 | 422)).unwrap_or(400)
        }
        FaultClass::Unsupported | FaultClass::ContextLength | FaultClass::ContentPolicy => 400,
        FaultClass::Unauthenticated => 401,
        FaultClass::UpstreamQuota | FaultClass::CreditsRequired => 402,
        FaultClass::Forbidden | FaultClass::UpstreamPermission => 403,
        FaultClass::NotFound | FaultClass::UpstreamNotFound => 404,
        FaultClass::MethodNotAllowed => 405,
        FaultClass::NotAcceptable => 406,
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

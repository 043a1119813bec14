//! The one table of status codes: what each fault class is answered with in each dialect.

use domain::{Dialect, Fault, FaultClass};

/// The client closed the connection; only logs and records show this status.
const CLIENT_CLOSED: u16 = 499;

/// The status code for a fault.
#[must_use]
pub fn status(fault: &Fault, dialect: Dialect) -> u16 {
    match (dialect, fault.class) {
        (Dialect::Anthropic, FaultClass::Overloaded) => 529,
        // Gemini's SDKs do not know 402.
        (Dialect::Gemini, FaultClass::UpstreamQuota) => 429,
        (Dialect::Converse, class) => of_converse(class).unwrap_or_else(|| common(fault, class)),
        (_, class) => common(fault, class),
    }
}

/// AWS uses other statuses here, and its SDKs do not retry them, which would not help anyway.
const fn of_converse(class: FaultClass) -> Option<u16> {
    match class {
        FaultClass::Unauthenticated => Some(403),
        FaultClass::UpstreamQuota | FaultClass::CreditsRequired => Some(400),
        FaultClass::UpstreamAuth => Some(424),
        _ => None,
    }
}

/// Statuses that refine "the request is wrong": none has a fault class of its own, and none is about the
/// connection.
const fn is_bad_request_status(status: u16) -> bool {
    matches!(status, 405 | 406 | 410..=418 | 422..=424 | 428 | 431 | 451)
}

fn common(fault: &Fault, class: FaultClass) -> u16 {
    match class {
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

#[cfg(test)]
mod tests {
    use domain::UpstreamReport;

    use super::*;

    fn check(class: FaultClass, reported: u16, dialect: Dialect, expected: u16) {
        let report = UpstreamReport { status: Some(reported), ..UpstreamReport::default() };
        let fault = Fault::new(class, "word", "Text.").upstream(report);
        assert_eq!(status(&fault, dialect), expected, "{class:?} {reported} {dialect:?}");
    }

    #[test]
    fn a_shade_of_bad_request_is_the_providers_own() {
        for specific in [405, 410, 412, 415, 418, 422, 423, 424, 428, 431, 451] {
            check(FaultClass::BadRequest, specific, Dialect::Chat, specific);
            check(FaultClass::BadRequest, specific, Dialect::Anthropic, specific);
        }
        // Statuses of other fault classes, and those about the client's own connection, are not passed on.
        for other in [200, 302, 401, 402, 403, 404, 407, 408, 409, 421, 426, 429, 499, 500] {
            check(FaultClass::BadRequest, other, Dialect::Chat, 400);
        }
        check(FaultClass::UpstreamQuota, 412, Dialect::Chat, 402);
    }

    #[test]
    fn some_classes_have_another_status_in_a_dialect() {
        check(FaultClass::Overloaded, 503, Dialect::Anthropic, 529);
        check(FaultClass::Overloaded, 529, Dialect::Chat, 503);
        check(FaultClass::UpstreamQuota, 402, Dialect::Gemini, 429);
        check(FaultClass::UpstreamQuota, 429, Dialect::Anthropic, 402);
        check(FaultClass::UpstreamQuota, 429, Dialect::Converse, 400);
        check(FaultClass::Unauthenticated, 401, Dialect::Converse, 403);
        check(FaultClass::UpstreamAuth, 401, Dialect::Converse, 424);
        check(FaultClass::Overloaded, 529, Dialect::Converse, 503);
    }
}

//! The status code that a fault has in each dialect.

use conversation::status::common;
use domain::{Dialect, Fault};

/// The status code for a fault.
#[must_use]
pub fn status(fault: &Fault, dialect: Dialect) -> u16 {
    match dialect {
        Dialect::Anthropic => anthropic::status(fault),
        Dialect::Gemini => gemini::status(fault),
        Dialect::Converse => converse::status(fault),
        _ => common(fault),
    }
}

#[cfg(test)]
mod tests {
    use domain::{FaultClass, UpstreamReport};

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

//! Compares an SDK's behaviour behind the gateway with its behaviour against the provider itself.

use domain::FaultClass;
use domain::limits::TRIES_PER_PRINCIPAL_MAX;

use super::scripted::Scripted;
use super::stage::Outcome;

/// How the exceptions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raised {
    Same,
    /// Deliberately the same as for the reference failure of its class.
    OfClass(&'static str),
    Different,
}

/// How the numbers of SDK requests compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    Same,
    /// Fewer, because the gateway retried instead, or because no retry helps.
    Fewer,
    Different,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub raised: Raised,
    pub calls: Calls,
}

/// The name of a class's reference failure, whose form all failures of the class take.
pub const fn stands_for(class: FaultClass, is_late: bool) -> &'static str {
    if is_late {
        return "error event after content";
    }
    match class {
        FaultClass::UpstreamPermission => "permission",
        FaultClass::UpstreamNotFound => "no such model",
        FaultClass::UpstreamQuota => "no credit",
        FaultClass::RateLimit => "rate limit",
        FaultClass::Overloaded => "overloaded",
        FaultClass::Timeout => "gateway timeout",
        FaultClass::Conflict => "conflict",
        FaultClass::UpstreamAuth | FaultClass::Upstream | FaultClass::StreamBroken => "bad gateway",
        _ => "bad request",
    }
}

/// Compares both; `own` is what the SDK raises for the class's reference failure at its own vendor.
pub fn verdict(scripted: &Scripted, direct: &Outcome, through: &Outcome, own: &Outcome) -> Verdict {
    let raised = if through.report.raised == direct.report.raised {
        Raised::Same
    } else {
        match scripted.why {
            Some(why) if scripted.is_whole && through.report.whole => Raised::OfClass(why),
            Some(why) if !scripted.is_whole && through.report.raised == own.report.raised => {
                Raised::OfClass(why)
            }
            _ => Raised::Different,
        }
    };
    let retried_upstream = through.upstream > through.calls;
    let calls = if through.calls == direct.calls {
        Calls::Same
    } else if through.calls < direct.calls && (retried_upstream || scripted.why.is_some()) {
        Calls::Fewer
    } else {
        Calls::Different
    };
    Verdict { raised, calls }
}

/// Invariants of every row: a broken answer is never taken for a complete one, and the provider receives no
/// more requests than the more persistent of the SDK and the gateway would send alone.
pub fn holds_always(scripted: &Scripted, through: &Outcome, direct_calls: usize, row: &str) {
    let report = &through.report;
    if scripted.is_whole {
        assert!(report.raised.is_none() && report.whole, "{row}: {through:?}");
    } else {
        let is_told = report.raised.is_some() && !report.whole;
        assert!(is_told, "{row}: a failure ended like an answer: {through:?}");
    }
    let most = direct_calls.max(TRIES_PER_PRINCIPAL_MAX as usize);
    assert!(through.upstream <= most, "{row}: the provider was asked {} times", through.upstream);
}

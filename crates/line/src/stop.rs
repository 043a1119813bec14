//! Early exits of the pipeline: before admission nothing is booked; after it, the tab is closed with the
//! error response.

use std::sync::Arc;

use admit::AdmitFailed;
use domain::{Fault, RateLimitStates};
use execute::{Failed, Served};
use plan::{PlanFailed, Planned, PlannedParts};
use relay::{ClientResponse, deliver_failed, deliver_fault, target_missed};

use crate::overload::overloaded;

/// Why no upstream answered.
pub(crate) enum EarlyExit {
    BeforeAdmission(Box<Fault>),
    /// A rate limit refuses the request; with the client's standing at its limits.
    RateLimited(Box<(Box<Fault>, RateLimitStates)>),
    /// After admission; with the fault's code for the counters.
    AfterAdmission(Box<ClientResponse>, &'static str),
}

/// Of a planned call that the core is too far behind for.
pub(crate) fn shed(planned: Planned) -> Box<PlanFailed> {
    let PlannedParts { admitted, resolved_model, record, manifest_revision, .. } = planned.into_parts();
    let fault = overloaded();
    Box::new(PlanFailed { fault, admitted, resolved_model, record, manifest_revision, resting: None })
}

impl EarlyExit {
    /// The fault.
    pub(crate) fn fault(&self) -> Box<Fault> {
        match self {
            Self::BeforeAdmission(fault) => fault.clone(),
            Self::RateLimited(bounded) => bounded.0.clone(),
            Self::AfterAdmission(response, _) => {
                response.fault().map_or_else(|| Box::new(Fault::internal()), |fault| Box::new(fault.clone()))
            }
        }
    }
}

impl From<Box<Fault>> for EarlyExit {
    fn from(fault: Box<Fault>) -> Self {
        Self::BeforeAdmission(fault)
    }
}

impl From<Box<AdmitFailed>> for EarlyExit {
    fn from(failed: Box<AdmitFailed>) -> Self {
        Self::RateLimited(Box::new((failed.fault, failed.standings)))
    }
}

impl From<Box<PlanFailed>> for EarlyExit {
    fn from(failed: Box<PlanFailed>) -> Self {
        let PlanFailed { fault, admitted, resolved_model, record, manifest_revision, resting } = *failed;
        let served = resting.map(|attempt| Served::uncalled(&attempt, Arc::clone(&resolved_model)));
        let (call, _caller, mut tab) = admitted.into_parts();
        tab.record_plan(resolved_model, record);
        tab.record_manifest(manifest_revision);
        if let Some(screening) = call.screening() {
            tab.screened(screening.found.borrow().clone(), screening.hook_calls.borrow().clone());
        }
        let code = fault.code;
        let response = deliver_fault(tab, fault, served.as_ref(), call.dialect(), call.trace());
        Self::AfterAdmission(Box::new(response.with_header(target_missed(call.has_target()))), code)
    }
}

impl From<Box<Failed>> for EarlyExit {
    fn from(failed: Box<Failed>) -> Self {
        let code = failed.fault.code;
        Self::AfterAdmission(Box::new(deliver_failed(*failed)), code)
    }
}

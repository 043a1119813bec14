//! Early exits of the pipeline: before admission nothing is booked; after it, the tab is closed with the
//! error response.

use admit::AdmitFailed;
use domain::{Fault, Standings};
use execute::Failed;
use plan::PlanFailed;
use relay::{Delivery, deliver_failed, deliver_fault};

/// Why no upstream answered.
pub(crate) enum EarlyExit {
    Early(Box<Fault>),
    /// A rate limit refuses the request; with the client's standing at its limits.
    Bounded(Box<(Box<Fault>, Standings)>),
    /// After admission; with the fault's code for the counters.
    Late(Box<Delivery>, &'static str),
}

impl EarlyExit {
    /// The fault.
    pub(crate) fn fault(&self) -> Box<Fault> {
        match self {
            Self::Early(fault) => fault.clone(),
            Self::Bounded(bounded) => bounded.0.clone(),
            Self::Late(delivery, _) => {
                delivery.fault().map_or_else(|| Box::new(Fault::internal()), |fault| Box::new(fault.clone()))
            }
        }
    }
}

impl From<Box<Fault>> for EarlyExit {
    fn from(fault: Box<Fault>) -> Self {
        Self::Early(fault)
    }
}

impl From<Box<AdmitFailed>> for EarlyExit {
    fn from(failed: Box<AdmitFailed>) -> Self {
        Self::Bounded(Box::new((failed.fault, failed.standings)))
    }
}

impl From<Box<PlanFailed>> for EarlyExit {
    fn from(failed: Box<PlanFailed>) -> Self {
        let PlanFailed { fault, admitted, resolved_model, record } = *failed;
        let (call, _caller, mut tab) = admitted.into_parts();
        tab.planned(resolved_model, record);
        let code = fault.code;
        Self::Late(Box::new(deliver_fault(tab, fault, None, call.dialect(), call.trace())), code)
    }
}

impl From<Box<Failed>> for EarlyExit {
    fn from(failed: Box<Failed>) -> Self {
        let code = failed.fault.code;
        Self::Late(Box::new(deliver_failed(*failed)), code)
    }
}

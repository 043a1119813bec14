//! The second stage: authenticates the caller, applies its rate limits, and opens the tab that pays for the
//! exchange.

mod address;
mod bounds;
mod caller;
mod fault;
mod identify;
mod signature;
mod signed;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use decode::Call;
use domain::ports::FoundResponse;
use domain::{Fault, FilesKeeper, RateLimitStates};
use ledger::{Journal, Opening, Refused, Tab};

pub use address::is_within;
pub use caller::{Caller, Needs, system};
pub use identify::identify;
pub use ledger::CoreAllowances;
pub use signature::{SignedHead, is_signed};
pub use signed::{OpenSecret, Signed, identify_signed};

/// An admitted call: its caller is known and its tab is open. Only `admit` makes one, so nothing is planned,
/// let alone sent, that can't be charged to someone.
pub struct Admitted {
    call: Call,
    caller: Caller,
    tab: Tab,
}

/// A call that was refused. No tab was opened and nothing is owed.
pub struct AdmitFailed {
    pub fault: Box<Fault>,
    /// The client's standing at its rate limits, where one of them refused the call.
    pub standings: RateLimitStates,
    pub call: Call,
    pub caller: Caller,
}

/// Admits a call: takes its share of the limits, and opens its tab.
///
/// # Errors
/// A rate limit is exhausted, or the journal has no space for the exchange's record: what can't be booked
/// isn't served.
pub fn admit(
    call: Call,
    caller: Caller,
    journal: &Rc<Journal>,
    allowances: &CoreAllowances,
    now_us: u64,
) -> Result<Admitted, Box<AdmitFailed>> {
    let hold = match bounds::reserve(&call, &caller, allowances, now_us) {
        Ok(hold) => hold,
        Err(refused) => {
            let Refused { fault, standings } = *refused;
            return Err(Box::new(AdmitFailed { fault, standings, call, caller }));
        }
    };
    let mut tab = match journal.open_tab(opening(&call, &caller)) {
        Ok(tab) => tab.with_reservation(hold),
        Err(fault) => {
            return Err(Box::new(AdmitFailed { fault, standings: RateLimitStates::default(), call, caller }));
        }
    };
    let timeline = tab.timeline_mut();
    timeline.decoded_us = call.decoded_us().saturating_sub(call.received_us());
    timeline.admitted_us = now_us.saturating_sub(call.received_us());
    Ok(Admitted { call, caller, tab })
}

fn opening(call: &Call, caller: &Caller) -> Opening {
    Opening {
        trace: call.trace(),
        workspace: caller.workspace().id,
        project: caller.project().id,
        key: caller.key().map(|key| key.id),
        environment: Arc::clone(caller.environment()),
        operation: call.operation(),
        dialect: call.dialect(),
        stream: call.request().stream,
        requested_model: call.request().model.clone(),
        tag: call.tag().map(str::to_owned),
        started_unix_ms: call.received_unix_ms(),
        started_us: call.received_us(),
    }
}

impl Admitted {
    #[must_use]
    pub const fn call(&self) -> &Call {
        &self.call
    }

    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Sets what is known of the stored response or object that the call names.
    pub fn set_found_response(&mut self, found: FoundResponse) {
        self.call.set_found_response(found);
    }

    /// Sets the provider's id of the object that the call names.
    pub fn set_upstream_id(&mut self, name: String) {
        self.call.set_upstream_id(name);
    }

    /// Sets the provider's names of the models in a batch's requests.
    pub fn set_upstream_models(&mut self, names: Vec<String>) {
        self.call.set_upstream_models(names);
    }

    /// Sets the owner of the files that the call names, and maps each file's id to the provider's.
    pub fn set_files(
        &mut self,
        found: Result<FilesKeeper, Box<Fault>>,
        at_keeper: &dyn Fn(&str) -> Option<String>,
    ) {
        self.call.set_files(found, at_keeper);
    }

    #[must_use]
    pub fn into_parts(self) -> (Call, Caller, Tab) {
        (self.call, self.caller, self.tab)
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted").field("trace", &self.call.trace()).finish_non_exhaustive()
    }
}

impl fmt::Debug for AdmitFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmitFailed").field("fault", &self.fault).finish_non_exhaustive()
    }
}

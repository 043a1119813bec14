//! The second stage: authenticates the caller, applies its rate limits, and opens the tab that pays for the
//! exchange.

mod address;
mod bounds;
mod caller;
mod fault;
mod identify;
mod signature;
mod signed;

use std::rc::Rc;
use std::sync::Arc;

use decode::StoredFindings;
use domain::record::StatedQos;
use domain::semantic::SemanticSearch;
use domain::{Fault, Operation, Principal, RateLimitStates};
use ledger::{Bounds, Journal, Opening, Refused, Tab};

pub use address::is_within;
pub use caller::{Caller, Needs, assumed, system};
pub use decode::Call;
pub use identify::{again, identify, is_readable_by, on_behalf};
pub use ledger::{CoreAllowances, would_refuse};
pub use signature::{SignedHead, is_signed};
pub use signed::{OpenSecret, Signed, identify_signed};

/// An admitted call: its caller is known and its tab is open. Only `admit` makes one, so nothing is planned,
/// let alone sent, that can't be charged to someone.
///
/// ```
/// fn read(admitted: admit::Admitted) -> domain::TraceId {
///     admitted.call().trace()
/// }
/// ```
///
/// Its fields are private, so that the same parts don't make one elsewhere:
///
/// ```compile_fail
/// fn make(admitted: admit::Admitted) -> admit::Admitted {
///     let (call, caller, tab) = admitted.into_parts();
///     admit::Admitted { call, caller, tab }
/// }
/// ```
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
/// isn't served. Nor is anything by a data plane whose configuration is over.
pub fn admit(
    call: Call,
    caller: Caller,
    journal: &Rc<Journal>,
    allowances: &CoreAllowances,
    now_us: u64,
) -> Result<Admitted, Box<AdmitFailed>> {
    if let Some(closed) = caller.snapshot().closed(caller.workspace().id) {
        let standings = RateLimitStates::default();
        return Err(Box::new(AdmitFailed { fault: fault::closed(closed), standings, call, caller }));
    }
    let end_user = call.request().end_user(call.body());
    let hold = match bounds::reserve(&call, &caller, end_user.as_deref(), allowances, now_us) {
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
    let stated = call.hints().and_then(|hints| StatedQos::of(&hints.qos));
    // A realtime session has its tools elsewhere than in the request for one response.
    let has_tools = (call.operation() != Operation::Realtime).then_some(call.request().has_tools);
    tab.describe_request(stated, has_tools);
    if let Some(session) = call.session() {
        tab.in_session(session);
    }
    if let Some(name) = end_user.filter(|name| !name.is_empty()) {
        tab.on_behalf_of(caller.snapshot().end_user(caller.workspace().id, &name));
    }
    if let Some(side_call) = caller.side_call() {
        tab.made_for(side_call);
    }
    if let Some((task, agent)) = caller.task() {
        tab.in_task(task, agent);
    }
    let timeline = tab.timeline_mut();
    timeline.decoded_us = call.decoded_us().saturating_sub(call.received_us());
    timeline.admitted_us = now_us.saturating_sub(call.received_us());
    Ok(Admitted { call, caller, tab })
}

/// The limits and budgets that would apply to a call, for one that is planned and not served: nothing is taken
/// of them. `None` where the workspace has none.
pub fn bounds_of(call: &Call, caller: &Caller) -> Option<Bounds> {
    bounds::of(call, caller, call.request().end_user(call.body()).as_deref())
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
        qos_class: call.hints().and_then(|hints| hints.qos.class),
        started_unix_ms: call.received_unix_ms(),
        started_us: call.received_us(),
    }
}

impl Admitted {
    pub const fn call(&self) -> &Call {
        &self.call
    }

    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The same with what the store knows of the objects that the call names: before it is planned.
    pub fn with_stored(self, findings: StoredFindings) -> Self {
        Self { call: self.call.with_stored(findings), ..self }
    }

    /// The same with a batch whose requests may be sent to an account that workspaces share.
    pub fn for_pool(self) -> Self {
        Self { call: self.call.for_pool(), ..self }
    }

    /// The same as one of a warm session, whose runs stay at a seat.
    pub fn at_seat(self, seat: Principal) -> Self {
        Self { call: self.call.at_seat(seat), ..self }
    }

    /// The same as a hook of a policy refuses it: before it is planned.
    pub fn with_refusal(self, fault: Box<Fault>) -> Self {
        Self { call: self.call.with_refusal(fault), ..self }
    }

    /// Stores how the search of the semantic response cache ended.
    pub fn searched(&mut self, search: SemanticSearch) {
        self.tab.searched(search);
    }

    /// The same with the provider's names of the models in a batch's requests: once it is planned.
    pub fn with_upstream_models(self, names: Vec<String>) -> Self {
        Self { call: self.call.with_upstream_models(names), ..self }
    }

    pub fn into_parts(self) -> (Call, Caller, Tab) {
        (self.call, self.caller, self.tab)
    }
}

domain::brief_debug!(Admitted, |it| trace = it.call.trace());

domain::brief_debug!(AdmitFailed, fault);

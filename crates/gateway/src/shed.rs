//! Load shedding: a serving thread whose queue has been too long for a while refuses new work until it has caught up, by
//! its priority; and one that is pressed refuses a workspace that has its fair share in flight, before others.
//!
//! A task on the thread measures the queue by waiting in it: it is woken as a request arrives, and runs once
//! everything that was woken before it has run. Nothing is measured while nothing arrives.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use admit::Caller;
use domain::{Fault, FaultClass, Priority, Qos};
use http::HeaderMap;
use line::{Overload, overloaded};
use tokio::sync::Notify;

use crate::in_flight::{InFlight, Permit};
use crate::routes::Action;
use crate::shares::Shares;

/// How long a queue may be too long before work of a workspace that sends most of it is refused.
const SHARE_BURST_MAX_US: u64 = 500_000;
const LOG_EVERY_US: u64 = 10_000_000;
const SHARE_RETRY_MS: u64 = 1_000;

/// What is refused: everything that calls an upstream.
const fn is_shed(does: Action) -> bool {
    match does {
        Action::Dialect(action) => action.calls_provider(),
        Action::Respond => true,
        _ => false,
    }
}

/// Refuses what a serving thread is too far behind for.
pub(crate) struct Shedder {
    overload: Rc<Overload>,
    shares: RefCell<Shares>,
    in_flight: Rc<InFlight>,
    begin: Notify,
    /// Refusals since the last log line.
    unlogged: Cell<u64>,
    logged_us: Cell<Option<u64>>,
}

impl Shedder {
    /// A delay of zero: no queue is too long; a bound of zero: no number in flight is too large.
    pub(crate) fn new(overload: Rc<Overload>, delay_max: Duration, in_flight_max: u32) -> Self {
        overload.bound(delay_max);
        Self {
            overload,
            shares: RefCell::default(),
            in_flight: InFlight::new(in_flight_max),
            begin: Notify::new(),
            unlogged: Cell::new(0),
            logged_us: Cell::new(None),
        }
    }

    /// Counts a request in whose caller is known, or refuses it: where the thread is pressed and its workspace has its
    /// share in flight, and where the thread is behind, for its priority, or since its workspace sends most of what the
    /// thread is behind with. Others get what it would take from them. Its body is not read yet.
    pub(crate) fn check(
        &self,
        does: Action,
        caller: &Caller,
        headers: &HeaderMap,
        now_us: u64,
    ) -> Result<Option<Permit>, Box<Fault>> {
        if !is_shed(does) {
            return Ok(None);
        }
        let behind_us = if self.overload.is_on() { self.measured(now_us) } else { None };
        let permit = self.in_flight.enter(caller.workspace().id, behind_us.is_some(), now_us);
        let Some(permit) = permit else {
            self.log_refusal("a workspace has its full share of requests in flight", now_us);
            return Err(over_share());
        };
        if behind_us.is_some_and(|behind_us| self.is_refused(caller, headers, behind_us, now_us)) {
            self.log_refusal("a serving thread is too far behind", now_us);
            return Err(overloaded());
        }
        Ok(Some(permit))
    }

    /// How long the queue has been too long; a measurement begins where one is due.
    fn measured(&self, now_us: u64) -> Option<u64> {
        let behind_us = self.overload.behind_for(now_us);
        if self.overload.begins(now_us) {
            self.begin.notify_one();
        }
        behind_us
    }

    /// For the page of metrics.
    pub(crate) fn counts(&self) -> [(&'static str, &'static str, u64); 2] {
        let in_flight = u64::from(self.in_flight.total());
        [("requests_in_flight", "", in_flight), ("share_refusals", "", self.in_flight.refusals())]
    }

    fn is_refused(&self, caller: &Caller, headers: &HeaderMap, behind_us: u64, now_us: u64) -> bool {
        let of_key = caller.key().and_then(|key| key.priority);
        if self.overload.sheds(Priority::of(&stated(caller, headers), of_key), now_us) {
            return true;
        }
        let takes_most = self.shares.borrow_mut().takes_most(caller.workspace().id, now_us);
        takes_most && behind_us >= SHARE_BURST_MAX_US
    }

    fn log_refusal(&self, reason: &'static str, now_us: u64) {
        let refused = self.unlogged.get() + 1;
        if self.logged_us.get().is_none_or(|logged| now_us.saturating_sub(logged) >= LOG_EVERY_US) {
            tracing::warn!(refused, reason, "new requests are refused");
            self.logged_us.set(Some(now_us));
            self.unlogged.set(0);
        } else {
            self.unlogged.set(refused);
        }
    }

    /// Measures whenever it is asked to; it never ends.
    pub(crate) async fn measure(self: Rc<Self>, now_us: impl Fn() -> u64) {
        loop {
            self.begin.notified().await;
            self.overload.ended(now_us());
        }
    }
}

/// What a client reads whose workspace has its share in flight.
fn over_share() -> Box<Fault> {
    let message = "The gateway is busy, and this workspace already has its share of requests in progress.";
    let fault = Fault::new(FaultClass::Limited, "rate_limit_exceeded", message).fix(
        "Wait for a request to end, and send fewer at the same time; the operator can add cores or gateways.",
    );
    Box::new(fault.retry_after_ms(SHARE_RETRY_MS).should_retry(true))
}

/// The quality of service that a request's headers state, by themselves or by the stored hints that they refer to.
fn stated(caller: &Caller, headers: &HeaderMap) -> Qos {
    match decode::reference(headers) {
        Some(reference) => {
            caller.workspace().stored_hints(reference).map(|read| read.hints.qos).unwrap_or_default()
        }
        None => decode::stated_qos(headers),
    }
}

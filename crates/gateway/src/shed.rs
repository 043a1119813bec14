//! Load shedding: a serving thread whose queue has been too long for a while refuses
//! new work until it has caught up: what nobody waits for first, and what a person waits for last.
//!
//! A task on the thread measures the queue by waiting in it: it is woken as a request arrives, and runs once
//! everything that was woken before it has run. Nothing is measured while nothing arrives.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use decode::Priority;
use domain::{Fault, FaultClass};
use http::HeaderMap;
use snapshot::WorkspaceEntry;
use tokio::sync::Notify;

use crate::routes::Action;
use crate::shares::Shares;

/// Between the end of one measurement and the start of the next.
const MEASURE_EVERY_US: u64 = 5_000;
/// A burst is queued: work is refused only once the queue has been too long for all of this time.
const BURST_MAX_US: u64 = 1_000_000;
/// The same for work that nobody waits for, and for work that a person waits for.
const BACKGROUND_BURST_MAX_US: u64 = 100_000;
const INTERACTIVE_BURST_MAX_US: u64 = 3_000_000;
/// The same for work of a workspace that sends most of it.
const SHARE_BURST_MAX_US: u64 = 500_000;
/// A thread that was behind this recently is allowed no burst.
const RELAPSE_US: u64 = 1_000_000;
/// An older measurement is void: there were no requests meanwhile.
const STALE_US: u64 = 250_000;
const RETRY_AFTER_MS: u64 = 1_000;
const LOG_EVERY_US: u64 = 10_000_000;

/// Decides from measurements alone, so that tests need no clock.
#[derive(Debug, Default)]
struct QueueDelay {
    max_us: u64,
    /// When the current measurement started.
    started_us: Option<u64>,
    measured_us: u64,
    /// Since then every measurement was too long.
    behind_since_us: Option<u64>,
    /// When work of each priority was last refused.
    shed_us: [Option<u64>; 3],
}

/// How long a queue may be too long before work of this priority is refused, and the priority's number.
const fn patience(priority: Priority) -> (u64, usize) {
    match priority {
        Priority::Background => (BACKGROUND_BURST_MAX_US, 0),
        Priority::Standard => (BURST_MAX_US, 1),
        Priority::Interactive => (INTERACTIVE_BURST_MAX_US, 2),
    }
}

impl QueueDelay {
    /// Whether a measurement is to start now.
    fn begins(&mut self, now_us: u64) -> bool {
        let is_due = self.started_us.is_none() && now_us.saturating_sub(self.measured_us) >= MEASURE_EVERY_US;
        if is_due {
            self.started_us = Some(now_us);
        }
        is_due
    }

    fn ended(&mut self, now_us: u64) {
        let Some(started) = self.started_us.take() else { return };
        self.saw(now_us.saturating_sub(started), now_us);
    }

    fn saw(&mut self, delay_us: u64, now_us: u64) {
        let is_stale = now_us.saturating_sub(self.measured_us) > STALE_US.max(delay_us);
        self.measured_us = now_us;
        if delay_us <= self.max_us {
            self.behind_since_us = None;
        } else if is_stale || self.behind_since_us.is_none() {
            self.behind_since_us = Some(now_us);
        }
    }

    /// How long the queue has been too long; `None` if it is not.
    fn behind_for(&mut self, now_us: u64) -> Option<u64> {
        // A measurement that is overdue is too long, however long it will turn out to be.
        if let Some(started) = self.started_us
            && now_us.saturating_sub(started) > self.max_us
        {
            self.saw(now_us.saturating_sub(started), now_us);
        }
        let since = self.behind_since_us?;
        (now_us.saturating_sub(self.measured_us) <= STALE_US).then(|| now_us.saturating_sub(since))
    }

    /// Whether a request of this priority that arrives now is refused.
    fn sheds(&mut self, priority: Priority, now_us: u64) -> bool {
        let Some(behind_us) = self.behind_for(now_us) else { return false };
        let (patience_us, number) = patience(priority);
        let Some(shed_us) = self.shed_us.get_mut(number) else { return false };
        let has_relapsed = shed_us.is_some_and(|shed| now_us.saturating_sub(shed) < RELAPSE_US);
        let sheds = has_relapsed || behind_us >= patience_us;
        if sheds {
            *shed_us = Some(now_us);
        }
        sheds
    }
}

/// What is refused: everything that calls an upstream.
const fn is_shed(does: Action) -> bool {
    match does {
        Action::Dialect(action) => action.calls_provider(),
        Action::Respond => true,
        _ => false,
    }
}

/// The queue of one serving thread.
pub(crate) struct Shedder {
    queue: RefCell<QueueDelay>,
    shares: RefCell<Shares>,
    is_on: bool,
    begin: Notify,
    /// Refusals since the last log line.
    unlogged: Cell<u64>,
    logged_us: Cell<Option<u64>>,
}

impl Shedder {
    /// Zero: nothing is ever shed.
    pub(crate) fn new(delay_max: Duration) -> Self {
        let max_us = u64::try_from(delay_max.as_micros()).unwrap_or(u64::MAX);
        let queue = RefCell::new(QueueDelay { max_us, ..QueueDelay::default() });
        Self {
            queue,
            shares: RefCell::default(),
            is_on: max_us > 0,
            begin: Notify::new(),
            unlogged: Cell::new(0),
            logged_us: Cell::new(None),
        }
    }

    /// The refusal for a request that arrives now, if the thread is too far behind to serve it.
    pub(crate) fn refusal(&self, does: Action, headers: &HeaderMap, now_us: u64) -> Option<Box<Fault>> {
        if !self.is_on || !is_shed(does) {
            return None;
        }
        let mut queue = self.queue.borrow_mut();
        let is_behind = queue.behind_for(now_us).is_some();
        let sheds = is_behind && queue.sheds(decode::priority(headers), now_us);
        if queue.begins(now_us) {
            self.begin.notify_one();
        }
        sheds.then(|| {
            self.log_refusal(now_us);
            overloaded()
        })
    }

    /// Refuses a request whose caller is known, where the thread is behind: for the class of the stored hints that it
    /// refers to, or since its workspace sends most of what the thread is behind with, so that others get what it would
    /// take from them.
    pub(crate) fn check_caller(
        &self,
        does: Action,
        workspace: &WorkspaceEntry,
        headers: &HeaderMap,
        now_us: u64,
    ) -> Result<(), Box<Fault>> {
        if !self.is_on || !is_shed(does) {
            return Ok(());
        }
        let Some(behind_us) = self.queue.borrow_mut().behind_for(now_us) else { return Ok(()) };
        if let Some(reference) = decode::reference(headers) {
            let class = workspace.stored_hints(reference).and_then(|read| read.hints.qos.class);
            if self.queue.borrow_mut().sheds(class.map(Priority::from).unwrap_or_default(), now_us) {
                self.log_refusal(now_us);
                return Err(overloaded());
            }
        }
        let workspace = workspace.id;
        let is_too_much = self.shares.borrow_mut().takes_most(workspace, now_us);
        if !is_too_much || behind_us < SHARE_BURST_MAX_US {
            return Ok(());
        }
        self.log_refusal(now_us);
        Err(overloaded())
    }

    fn log_refusal(&self, now_us: u64) {
        let refused = self.unlogged.get() + 1;
        if self.logged_us.get().is_none_or(|logged| now_us.saturating_sub(logged) >= LOG_EVERY_US) {
            tracing::warn!(refused, "a serving thread is too far behind: new requests are refused");
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
            self.queue.borrow_mut().ended(now_us());
        }
    }
}

fn overloaded() -> Box<Fault> {
    let message = "The gateway gets more requests than it can serve.";
    let fault = Fault::new(FaultClass::Unavailable, "gateway_overloaded", message)
        .fix("Send the request again in a second, and fewer at once; whoever runs this gateway can add cores or gateways.");
    Box::new(fault.retry_after_ms(RETRY_AFTER_MS))
}

#[cfg(test)]
mod tests {
    use conversation::routes::RouteAction;

    use super::*;

    const MAX_US: u64 = 50_000;

    fn queue() -> QueueDelay {
        QueueDelay { max_us: MAX_US, ..QueueDelay::default() }
    }

    /// One measurement from `from_us` on that takes `delay_us`; the time at its end.
    fn measure(queue: &mut QueueDelay, from_us: u64, delay_us: u64) -> u64 {
        assert!(queue.begins(from_us), "none is under way at {from_us}");
        queue.ended(from_us + delay_us);
        from_us + delay_us
    }

    /// Measurements of one length, one right after another, for this long.
    fn measure_for(queue: &mut QueueDelay, from_us: u64, delay_us: u64, for_us: u64) -> u64 {
        let mut now = from_us;
        while now < from_us + for_us {
            now = measure(queue, now + MEASURE_EVERY_US, delay_us);
        }
        now
    }

    #[test]
    fn a_queue_that_stays_too_long_is_shed_until_it_is_short() {
        let mut queue = queue();
        let now = measure_for(&mut queue, 10_000_000, 60_000, 900_000);
        assert!(!queue.sheds(Priority::Standard, now), "a burst is queued");
        let now = measure_for(&mut queue, now, 60_000, 200_000);
        assert!(queue.sheds(Priority::Standard, now));
        let now = measure(&mut queue, now + MEASURE_EVERY_US, 40_000);
        assert!(!queue.sheds(Priority::Standard, now), "it has caught up");
        let now = measure(&mut queue, now + MEASURE_EVERY_US, 60_000);
        assert!(queue.sheds(Priority::Standard, now), "a relapse is no burst");
    }

    #[test]
    fn what_nobody_waits_for_is_refused_first_and_what_a_person_waits_for_last() {
        let mut queue = queue();
        let mut now = 10_000_000;
        let mut refused_us = [None; 3];
        let from = now;
        for _ in 0..80 {
            now = measure(&mut queue, now + MEASURE_EVERY_US, 60_000);
            for (at, priority) in
                [Priority::Background, Priority::Standard, Priority::Interactive].into_iter().enumerate()
            {
                if queue.sheds(priority, now) {
                    refused_us[at].get_or_insert(now - from);
                }
            }
        }
        let [background, standard, interactive] = refused_us.map(Option::unwrap);
        assert!(background < 300_000, "{background}");
        assert!((1_000_000..1_300_000).contains(&standard), "{standard}");
        assert!(interactive >= 3_000_000, "{interactive}");
    }

    #[test]
    fn one_short_queue_between_begins_the_burst_anew() {
        let mut queue = queue();
        let now = measure_for(&mut queue, 10_000_000, 60_000, 900_000);
        let now = measure(&mut queue, now + MEASURE_EVERY_US, 1_000);
        let now = measure_for(&mut queue, now, 60_000, 900_000);
        assert!(!queue.sheds(Priority::Standard, now));
    }

    #[test]
    fn a_measurement_that_does_not_end_is_too_long_by_itself() {
        let mut queue = queue();
        assert!(queue.begins(10_000_000));
        assert!(!queue.begins(10_100_000), "it is under way");
        for late in 1..=10 {
            assert!(!queue.sheds(Priority::Standard, 10_000_000 + late * 100_000), "{late}");
        }
        assert!(queue.sheds(Priority::Standard, 11_100_000));
    }

    /// A single long turn, for a large body, is not an overload; nor is an old queue.
    #[test]
    fn what_was_measured_long_ago_says_nothing() {
        let mut queue = queue();
        let now = measure(&mut queue, 10_000_000, 3_000_000);
        assert!(!queue.sheds(Priority::Standard, now));
        let now = measure_for(&mut queue, now, 60_000, 1_100_000);
        assert!(queue.sheds(Priority::Standard, now));
        assert!(!queue.sheds(Priority::Standard, now + STALE_US + 1), "nothing arrived since");
        let now = measure(&mut queue, now + 60_000_000, 60_000);
        assert!(!queue.sheds(Priority::Standard, now), "another burst, a minute later");
    }

    #[test]
    fn without_a_bound_nothing_is_shed() {
        const STORED: Action = Action::Dialect(RouteAction::StoredResponse);
        let shedder = Shedder::new(Duration::ZERO);
        assert!(
            [1, u64::MAX].iter().all(|now_us| shedder.refusal(STORED, &HeaderMap::new(), *now_us).is_none())
        );
    }
}

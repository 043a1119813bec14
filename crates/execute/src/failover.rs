//! The retry and failover decisions of a `RetryLoop`, pure: whether to wait for a seat, to retry or to leave
//! it, and which one is next. The journey and the simulator both act on them.

use std::borrow::Borrow;
use std::time::Duration;

use board::Availability;
use domain::limits::{ATTEMPTS_MAX, BACKOFF_BASE, TRIES_PER_PRINCIPAL_MAX};
use domain::{FallbackClass, FaultClass};
use plan::{Attempt, Seat};

use crate::failure::AttemptFailure;
use crate::limits::NODES_TRIED_MAX;
use crate::schedule::{self, Situation, Step};

/// The position of an exchange among the seats of its plan.
#[derive(Debug, Clone)]
pub struct FailoverState {
    fallback_on: Vec<FallbackClass>,
    /// The current seat.
    index: usize,
    /// Journaled attempts, of the exchange and on this seat.
    tries: u32,
    tries_on_seat: u32,
    /// Every failure so far was an outage of its provider.
    is_outage: bool,
    /// How many pooled accounts lacked the permission for the request.
    forbidden: u32,
    /// The seats of the route's overflow were reached, which no failure leads to.
    overflows: bool,
    /// Why the exchange went on to a fallback.
    fell_back_on: Option<FallbackClass>,
}

/// What to do when the board denies permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialAction {
    /// The wait is short, and no other seat of the same kind is left.
    Wait(Duration),
    /// Leave the seat, as after a failure of this class.
    Left(FaultClass),
}

impl FailoverState {
    /// Starts before the first seat. Failover from the customer's own to the pool is only
    /// for the classes of `fallback_on`.
    pub const fn new(fallback_on: Vec<FallbackClass>) -> Self {
        Self {
            fallback_on,
            index: 0,
            tries: 0,
            tries_on_seat: 0,
            is_outage: true,
            forbidden: 0,
            overflows: false,
            fell_back_on: None,
        }
    }

    /// The same where the plan found all of the customer's own at the end of their capacity, or its nodes away.
    pub fn starting_at<S: Borrow<Attempt>>(fallback_on: Vec<FallbackClass>, seats: &[S]) -> Self {
        let first = seats.first().map(attempt);
        let overflows = first.is_some_and(|first| first.overflow().is_some());
        let fell_back_on = first.and_then(Attempt::left_in_plan_on);
        Self { overflows, fell_back_on, ..Self::new(fallback_on) }
    }

    /// The same after so many attempts on the seats of another model.
    pub(crate) fn after(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// Whether the current seat takes what exceeds the customer's own capacity.
    pub const fn overflows(&self) -> bool {
        self.overflows
    }

    /// Why the exchange went on to a fallback, where it did.
    pub const fn fell_back_on(&self) -> Option<FallbackClass> {
        self.fell_back_on
    }

    /// The current seat.
    pub const fn index(&self) -> usize {
        self.index
    }

    pub const fn tries(&self) -> u32 {
        self.tries
    }

    pub const fn tries_on_seat(&self) -> u32 {
        self.tries_on_seat
    }

    /// An attempt starts.
    pub const fn tried(&mut self) {
        self.tries += 1;
        self.tries_on_seat += 1;
    }

    /// It was not made after all.
    pub const fn untried(&mut self) {
        self.tries = self.tries.saturating_sub(1);
        self.tries_on_seat = self.tries_on_seat.saturating_sub(1);
    }

    /// An attempt failed.
    pub fn failed<S: Borrow<Attempt>>(&mut self, seats: &[S], class: FaultClass) {
        let is_pooled = seats.get(self.index).is_some_and(|seat| is_pooled(attempt(seat)));
        self.forbidden += u32::from(is_pooled && class == FaultClass::UpstreamPermission);
    }

    /// Whether only emergency seats are left: then this one is tried even while the board thinks it is down,
    /// since only a failure of this very call leads on to them.
    pub fn is_last<S: Borrow<Attempt>>(&self, seats: &[S]) -> bool {
        let next = self.next(seats, FaultClass::Overloaded).and_then(|next| seats.get(next));
        next.is_none_or(|seat| attempt(seat).is_emergency())
    }

    /// Whether a later seat takes the request if the node of this one refuses it for its queue.
    pub(crate) fn may_leave_queue<S: Borrow<Attempt>>(&self, seats: &[S]) -> bool {
        self.tries < ATTEMPTS_MAX && self.next(seats, FaultClass::RateLimit).is_some()
    }

    /// Whether a later seat takes what the commitment of this one no longer covers.
    pub fn can_spill<S: Borrow<Attempt>>(&self, seats: &[S]) -> bool {
        let mut rest = seats.iter().skip(self.index + 1);
        !self.overflows && rest.any(|seat| attempt(seat).overflow().is_some())
    }

    /// Leaves the seat since its commitment is used up, for the next one of the customer's own or for the
    /// overflow; `false` if there is none.
    pub fn spill<S: Borrow<Attempt>>(&mut self, seats: &[S]) -> bool {
        let mut rest = seats.iter().enumerate().skip(self.index + 1);
        let takes = |seat: &Attempt| seat.overflow().is_some() || !seat.is_fallback();
        let Some((next, seat)) = rest.find(|(_, seat)| takes(attempt(*seat))) else { return false };
        self.overflows = attempt(seat).overflow().is_some();
        (self.index, self.tries_on_seat) = (next, 0);
        true
    }

    /// Leaves a seat that can't be asked for the request, and so never failed, for the next of its kind; `false` if there
    /// is none.
    pub fn pass_over<S: Borrow<Attempt>>(&mut self, seats: &[S]) -> bool {
        let Some(next) = self.next_own(seats) else { return false };
        (self.index, self.tries_on_seat) = (next, 0);
        true
    }

    /// What to do when the board denies permission. `random` is drawn only for a wait,
    /// so that not all return at once.
    pub fn on_denied<S: Borrow<Attempt>>(
        &self,
        seats: &[S],
        standing: Availability,
        parked_for: Option<FaultClass>,
        now_us: u64,
        time_left: Duration,
        random: impl FnOnce() -> u64,
    ) -> DenialAction {
        let wait = Duration::from_micros(standing.until_us().saturating_sub(now_us));
        let is_timed = matches!(standing, Availability::RetryAt { .. } | Availability::Paced { .. });
        let is_short = is_timed
            && !schedule::is_long_wait(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
            && wait < time_left;
        let class = class_of(standing, parked_for);
        let may_leave = self.has_next_own(seats)
            || self.has_overflow(seats, FaultClass::RateLimit)
            || self.leaves_at_once(seats) && self.next(seats, class).is_some();
        if !is_short || may_leave {
            return DenialAction::Left(class);
        }
        if matches!(standing, Availability::Paced { .. }) {
            // Each of those that wait takes a turn of its own.
            return DenialAction::Wait(wait);
        }
        let spread_us = u64::try_from(BACKOFF_BASE.as_micros()).unwrap_or(u64::MAX).max(1);
        DenialAction::Wait(wait + Duration::from_micros(random() % spread_us))
    }

    /// What follows a failed attempt. With `may_repeat` false, the body is gone or the upstream may have made
    /// the object already, so it is not sent again.
    pub fn next_step<S: Borrow<Attempt>>(
        &self,
        seats: &[S],
        failure: &AttemptFailure,
        may_repeat: bool,
        time_left: Duration,
        random: u64,
    ) -> Step {
        if !may_repeat {
            return Step::GiveUp;
        }
        schedule::next_step(&Situation {
            cached_refused: failure.token_refused || failure.context_refused,
            class: failure.class(),
            retry_after_ms: failure.fault.retry_after_ms,
            should_retry: failure.should_retry,
            tries_on_seat: self.tries_on_seat,
            tries: self.tries,
            leaves_at_once: self.leaves_at_once(seats),
            has_next: self.next(seats, failure.class()).is_some(),
            has_next_own: self.has_next_own(seats) || self.has_overflow(seats, failure.class()),
            time_left,
            random,
        })
    }

    /// Leaves the seat after a failure of this class; `false` if no other seat may be tried.
    pub fn leave<S: Borrow<Attempt>>(&mut self, seats: &[S], class: FaultClass) -> bool {
        self.is_outage &= schedule::is_outage(class);
        let Some(next) = self.next(seats, class) else { return false };
        let (from, to) = (seats.get(self.index).map(attempt), seats.get(next).map(attempt));
        if let (Some(from), Some(to)) = (from, to) {
            let leaves_nodes = leaves_nodes(from, to);
            let is_beyond = to.overflow().is_some();
            self.overflows = is_beyond && (self.overflows || leaves_nodes || lacks_capacity(from, class));
            if leaves_nodes || to.is_fallback() && !from.is_fallback() {
                self.fell_back_on = FallbackClass::of(class);
            }
        }
        (self.index, self.tries_on_seat) = (next, 0);
        true
    }

    /// The next seat that a failure of this class may go on to. From the customer's own to the pool only
    /// where the route allows it for that class, as from its nodes to another profile; to an emergency account only if all failures so far were
    /// outages. A permission that two pooled accounts lack is not tried on the others.
    fn next<S: Borrow<Attempt>>(&self, seats: &[S], class: FaultClass) -> Option<usize> {
        let from = attempt(seats.get(self.index)?);
        let may_overflow = self.overflows || lacks_capacity(from, class);
        let may_fall_back = schedule::may_fall_back(class, &self.fallback_on);
        // What left the customer's own for lack of capacity falls back only from there, not from the pool.
        let may_pay = if self.overflows {
            may_fall_back && !is_pooled(from)
        } else {
            from.is_fallback() || may_fall_back
        };
        let may_rescue = self.is_outage && schedule::is_outage(class);
        let is_forbidden = class == FaultClass::UpstreamPermission && self.forbidden > 1;
        let rest = seats.iter().skip(self.index + 1);
        // However many nodes there are, attempts are left for what the route lists behind them.
        let skips_nodes = may_fall_back
            && self.tries >= NODES_TRIED_MAX
            && rest.clone().any(|seat| leaves_nodes(from, attempt(seat)));
        let may = |seat: &Attempt| {
            if leaves_nodes(from, seat) {
                return may_fall_back;
            }
            let is_own = !seat.is_fallback() && seat.overflow().is_none() && !(skips_nodes && seat.is_node());
            let is_let = is_own || seat.is_fallback() && may_pay || seat.overflow().is_some() && may_overflow;
            is_let && (may_rescue || !seat.is_emergency()) && !(is_forbidden && is_pooled(seat))
        };
        rest.map(attempt).position(may).map(|at| self.index + 1 + at)
    }

    fn has_overflow<S: Borrow<Attempt>>(&self, seats: &[S], class: FaultClass) -> bool {
        seats.get(self.index).is_some_and(|seat| lacks_capacity(attempt(seat), class))
            && self.can_spill(seats)
    }

    /// A node that fails is not tried again where another seat may serve: it would be the same machine a moment later.
    fn leaves_at_once<S: Borrow<Attempt>>(&self, seats: &[S]) -> bool {
        seats.get(self.index).is_some_and(|seat| attempt(seat).is_node())
    }

    fn has_next_own<S: Borrow<Attempt>>(&self, seats: &[S]) -> bool {
        self.next_own(seats).is_some()
    }

    /// The seat of a hedge, which is made beside the attempt on the current one: the next of its kind and profile. Where
    /// budgets bound the exchange, of its price, too: what is reserved for both is twice that of one. None once the
    /// exchange has made all its attempts.
    pub fn beside<S: Borrow<Attempt>>(&self, seats: &[S], has_budgets: bool) -> Option<usize> {
        if self.tries >= ATTEMPTS_MAX || self.tries_on_seat >= TRIES_PER_PRINCIPAL_MAX {
            return None;
        }
        let next = self.next_own(seats)?;
        let (first, second) = (attempt(seats.get(self.index)?), attempt(seats.get(next)?));
        let price = |seat: &Attempt| (seat.rates(), seat.markup_bps());
        let is_alike = first.profile() == second.profile() && (!has_budgets || price(first) == price(second));
        is_alike.then_some(next)
    }

    /// The next seat of the same kind: no fallback from the customer's own to the pool.
    fn next_own<S: Borrow<Attempt>>(&self, seats: &[S]) -> Option<usize> {
        let kind = |seat: &Attempt| {
            (seat.is_fallback(), seat.is_emergency(), seat.overflow().is_some(), seat.is_after_nodes())
        };
        let from = kind(attempt(seats.get(self.index)?));
        let mut rest = seats.iter().enumerate().skip(self.index + 1);
        rest.find(|(_, seat)| kind(attempt(*seat)) == from).map(|(next, _)| next)
    }
}

/// Whether a failure of this class is lack of capacity, which an overflow is for.
fn lacks_capacity(from: &Attempt, class: FaultClass) -> bool {
    class == FaultClass::RateLimit || class == FaultClass::UpstreamQuota && from.states_limits()
}

fn attempt<S: Borrow<Attempt>>(seat: &S) -> &Attempt {
    seat.borrow()
}

/// Whether a step is from a node to what its route lists behind the nodes.
fn leaves_nodes(from: &Attempt, to: &Attempt) -> bool {
    from.is_node() && to.is_after_nodes()
}

fn is_pooled(seat: &Attempt) -> bool {
    matches!(seat.seat(), Seat::Managed(_))
}

/// Why a seat was not called at all.
pub fn class_of(standing: Availability, parked_for: Option<FaultClass>) -> FaultClass {
    match standing {
        Availability::Parked { .. } => parked_for.unwrap_or(FaultClass::UpstreamAuth),
        Availability::RetryAt { .. } | Availability::Limited { .. } | Availability::Paced { .. } => {
            FaultClass::RateLimit
        }
        _ => FaultClass::Overloaded,
    }
}

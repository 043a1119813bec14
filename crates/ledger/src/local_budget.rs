//! The replica's side of a budget lease: what it may spend of one budget in one period without asking the
//! centre.
//!
//! A state machine per budget, behind its own lock. Time is an argument; whoever carries calls to the centre
//! (the lease client, or a simulation) fetches the next one and reports its result.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::limits::{BUDGET_WAITING_MAX, LEASE_IDLE_MAX};
use domain::{Budget, BudgetId, Nanos};
use tokio::sync::Notify;

use crate::lease::{LeaseGrant, LeaseRequest};

/// How often the centre is asked while requests wait for what others may return.
const ASK_AGAIN_US: u64 = 300_000;
/// How often it is asked when nothing is left and nothing can be returned.
const ASK_EXHAUSTED_US: u64 = 500_000;

/// A centre that has not answered for this long counts as unreachable.
const SILENCE_US: u64 = 1_500_000;

/// Larger than what any request needs: each of them has yet to be asked for.
const ANY_NEED: i64 = i64::MAX;

/// A call to the centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOp {
    Ask(LeaseRequest),
    Return { sequence: u64, amount: i64 },
}

/// A place in the queue of waiting requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// The minimum that the request can start with.
    least: i64,
    number: u64,
}

/// The prospects of a request that found too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// Something may come: a lease, or a settlement.
    Wait,
    /// Everything is spent.
    Exhausted,
    /// Too many requests wait already.
    Crowded,
}

#[derive(Debug, Default)]
struct State {
    /// Leased, not reserved, not spent. Negative if an exchange cost more than was reserved for it.
    available: i64,
    /// By open exchanges.
    reserved: i64,
    open: u64,
    /// The waiting requests, smallest minimum first, with the most that each can use.
    waiting: BTreeMap<Ticket, i64>,
    next_ticket: u64,
    sequence: u64,
    /// A call that was sent and is not answered for certain: nothing else is sent before it is.
    in_doubt: Option<LeaseOp>,
    in_flight: bool,
    answered_us: u64,
    /// The last slice: below a quarter of it, the next is requested. What is held here when a budget runs out
    /// has to be recalled, so it is little; a quarter lasts until the lease client's next poll.
    slice: i64,
    ask_after_us: u64,
    /// The smallest need that the centre last had too little for; `ANY_NEED` if it refused what nobody waited for.
    too_little_for: Option<i64>,
    /// When it last had too little for a need.
    too_little_us: u64,
    elsewhere: bool,
    unreachable: bool,
    used_us: u64,
    /// A request was refused in this period, and that is not reported to the centre yet.
    refused: bool,
    refusal_reported: bool,
}

/// The replica's part of one budget in one period.
#[derive(Debug)]
pub struct LocalBudget {
    pub budget: BudgetId,
    pub period_unix_ms: u64,
    pub ends_unix_ms: Option<u64>,
    /// The limit by the newest snapshot that was seen here.
    limit: AtomicI64,
    state: Mutex<State>,
    /// Notified when money becomes available or the outlook changes.
    pub(crate) changed: Notify,
}

impl LocalBudget {
    pub fn new(budget: &Budget, now_unix_ms: u64) -> Arc<Self> {
        let period_unix_ms = budget.period.start(now_unix_ms);
        Arc::new(Self {
            budget: budget.id,
            period_unix_ms,
            ends_unix_ms: budget.period.end(period_unix_ms),
            limit: AtomicI64::new(budget.limit.0),
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Asks the centre again at once where the limit was changed: what it said of the old one is not true of it.
    pub(crate) fn follow_limit(&self, limit: Nanos) {
        if self.limit.load(Ordering::Relaxed) == limit.0 {
            return;
        }
        self.limit.store(limit.0, Ordering::Relaxed);
        let mut state = self.lock();
        (state.too_little_for, state.ask_after_us) = (None, 0);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Opens an exchange's reservation of `most`, or of what is available if that is at least `least`. `None`
    /// if it is less.
    pub fn reserve(&self, least: i64, most: i64, now_us: u64) -> Option<i64> {
        let mut state = self.lock();
        state.used_us = now_us;
        // Waiting requests come first. An exchange that costs nothing takes nothing from them.
        let is_free = least <= 0 && most <= 0;
        if !is_free && (!state.waiting.is_empty() || state.available < least.max(1)) {
            return None;
        }
        let amount = most.min(state.available).max(0);
        Some(state.open(amount))
    }

    /// Like `take`, for a request that waited in the queue.
    pub fn take_waited(&self, ticket: Ticket, most: i64, now_us: u64) -> Option<i64> {
        let mut state = self.lock();
        if state.available < ticket.least {
            return None;
        }
        state.waiting.remove(&ticket);
        state.used_us = now_us;
        let amount = most.min(state.available);
        Some(state.open(amount))
    }

    /// Reserves more for an open exchange, as much as is available.
    pub fn reserve_more(&self, most: i64, now_us: u64) -> i64 {
        let mut state = self.lock();
        state.used_us = now_us;
        if !state.waiting.is_empty() {
            return 0;
        }
        let more = most.min(state.available).max(0);
        state.available -= more;
        state.reserved += more;
        more
    }

    /// Closes an exchange: what it did not use is available again.
    pub fn settle(&self, reserved: i64, spent: i64, now_us: u64) {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
        state.reserved = state.reserved.saturating_sub(reserved);
        state.available = state.available.saturating_add(reserved).saturating_sub(spent);
        state.used_us = now_us;
        if state.can_serve() || state.reserved == 0 {
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Deducts money that was spent without a reservation.
    pub fn overdraw(&self, spent: i64) {
        let mut state = self.lock();
        state.available = state.available.saturating_sub(spent);
    }

    /// Queues for `most`, or at least `least`; `None` if the queue is full.
    pub fn enqueue(&self, least: i64, most: i64, now_us: u64) -> Option<Ticket> {
        let mut state = self.lock();
        if state.waiting.len() >= BUDGET_WAITING_MAX {
            return None;
        }
        let ticket = Ticket { least: least.max(1), number: state.next_ticket };
        state.next_ticket += 1;
        state.waiting.insert(ticket, most.max(least));
        state.used_us = now_us;
        Some(ticket)
    }

    pub fn leave(&self, ticket: Ticket) {
        self.lock().waiting.remove(&ticket);
    }

    /// Whether waiting can help a request that needs `least`.
    pub fn outlook(&self, least: i64, now_us: u64) -> Outlook {
        let state = self.lock();
        let settles = state.may_settle(least) && state.waiting.len() < BUDGET_WAITING_MAX;
        // A reply from before the centre became unreachable does not count.
        let is_too_little = state.too_little_for.is_some_and(|need| least.max(1) >= need);
        let knows = is_too_little && !state.unreachable && now_us < state.ask_after_us;
        if state.waiting.len() >= BUDGET_WAITING_MAX {
            Outlook::Crowded
        } else if knows && !settles && !state.elsewhere {
            Outlook::Exhausted
        } else {
            Outlook::Wait
        }
    }

    /// Whether the reservations here leave enough for `least`, if they are not used.
    pub fn may_settle(&self, least: i64) -> bool {
        self.lock().may_settle(least)
    }

    /// Whether so much can be reserved here without waiting.
    pub fn has_room(&self, amount: i64) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.available >= amount
    }

    /// Whether the centre has just said that nothing is left, nor held by another replica. What requests here
    /// have reserved doesn't count: it is what they are certain to use.
    pub fn is_used_up(&self, now_us: u64) -> bool {
        let state = self.lock();
        let is_known = state.too_little_for.is_some_and(|need| need <= 1) && !state.unreachable;
        is_known && now_us < state.ask_after_us && !state.elsewhere && state.available < 1
            || state.waiting.len() >= BUDGET_WAITING_MAX
    }

    /// Whether the last call to the centre failed.
    pub fn is_centre_away(&self) -> bool {
        self.lock().unreachable
    }

    /// Whether the centre is reachable, as far as is known; otherwise what is left can't be determined. While
    /// requests wait it is asked so often that a longer silence means it is gone.
    pub fn is_centre_reachable(&self, now_us: u64) -> bool {
        let state = self.lock();
        !state.unreachable && now_us.saturating_sub(state.answered_us) < SILENCE_US
    }

    /// Whether the centre has said since then that too little is left, and nothing else after that. Who waited without an
    /// answer knows nothing of what is left; nor does who was granted a part that only pays for what was spent meanwhile.
    pub fn is_refused_since(&self, us: u64) -> bool {
        let state = self.lock();
        state.too_little_for.is_some() && state.too_little_us >= us
    }

    /// Records that a request was refused; the first time in a period, it is reported to the centre.
    pub fn record_refusal(&self) {
        let mut state = self.lock();
        state.refused = true;
    }

    /// Whether a refusal is to be reported; `true` once.
    pub(crate) fn take_refusal(&self) -> bool {
        let mut state = self.lock();
        let is_news = state.refused && !state.refusal_reported;
        state.refusal_reported |= is_news;
        is_news
    }

    pub(crate) fn clear_refusal_reported(&self) {
        self.lock().refusal_reported = false;
    }

    /// The call that is due, if any; there is no other until its reply is reported. `gives_all` at the end of
    /// the process, or if the centre recalled the budget.
    pub fn next_call(&self, now_us: u64, now_unix_ms: u64, gives_all: bool) -> Option<LeaseOp> {
        let mut state = self.lock();
        if state.in_flight {
            return None;
        }
        let is_over = self.ends_unix_ms.is_some_and(|end| now_unix_ms >= end);
        let call = state.in_doubt.or_else(|| state.due(now_us, gives_all, is_over))?;
        if let (None, LeaseOp::Return { amount, .. }) = (state.in_doubt, call) {
            // Not available from now on: it is on its way back.
            state.available -= amount;
        }
        state.in_doubt = Some(call);
        state.in_flight = true;
        Some(call)
    }

    /// The centre's reply to an ask.
    pub fn apply_grant(&self, grant: LeaseGrant, now_us: u64) {
        let mut state = self.lock();
        let Some(LeaseOp::Ask(ask)) = state.in_doubt.filter(|_| state.in_flight) else { return };
        if ask.sequence != grant.sequence {
            return;
        }
        state.end_call();
        (state.sequence, state.answered_us) = (ask.sequence, now_us);
        state.available = state.available.saturating_add(grant.amount);
        // What is asked ahead of need may be refused beside money that is free, while that is scarce.
        let is_needed = ask.least > 0;
        let need = if is_needed { ask.least.saturating_add(state.available).max(1) } else { ANY_NEED };
        state.too_little_for = (grant.amount == 0).then_some(need);
        state.elsewhere = grant.elsewhere > 0;
        if grant.amount > 0 {
            state.slice = grant.amount;
            state.ask_after_us = now_us;
        } else {
            if is_needed {
                state.too_little_us = now_us;
            }
            let waits = state.elsewhere || state.reserved > 0;
            state.ask_after_us = now_us + if waits { ASK_AGAIN_US } else { ASK_EXHAUSTED_US };
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The centre took back what was returned.
    pub fn confirm_return(&self, sequence: u64, now_us: u64) {
        let mut state = self.lock();
        if matches!(state.in_doubt, Some(LeaseOp::Return { sequence: sent, .. }) if sent == sequence) {
            state.end_call();
            (state.sequence, state.answered_us) = (sequence, now_us);
        }
    }

    /// Whether the call was applied is not known: the same is sent again.
    pub fn record_failure(&self, now_us: u64) {
        let mut state = self.lock();
        state.in_flight = false;
        state.unreachable = true;
        state.ask_after_us = now_us + ASK_EXHAUSTED_US;
        drop(state);
        self.changed.notify_waiters();
    }

    /// The centre reclaimed the lease: what is left of it here can't be spent.
    pub fn forget(&self) {
        let mut state = self.lock();
        if !state.in_flight {
            state.available = state.available.min(0);
            state.in_doubt = None;
        }
    }

    /// What is leased and neither reserved nor spent.
    pub fn available(&self) -> i64 {
        self.lock().available
    }

    pub fn reservation(&self) -> i64 {
        self.lock().reserved
    }

    /// Whether nothing depends on it any more.
    pub fn is_at_rest(&self) -> bool {
        let state = self.lock();
        state.open == 0 && state.available <= 0 && state.in_doubt.is_none() && state.waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&mut self, amount: i64) -> i64 {
        self.available -= amount;
        self.reserved += amount;
        self.open += 1;
        amount
    }

    fn may_settle(&self, least: i64) -> bool {
        self.reserved > 0 && self.reserved.saturating_add(self.available) >= least.max(1)
    }

    fn can_serve(&self) -> bool {
        self.waiting.first_key_value().is_some_and(|(ticket, _)| ticket.least <= self.available)
    }

    fn end_call(&mut self) {
        self.in_doubt = None;
        self.in_flight = false;
        self.unreachable = false;
    }

    fn due(&self, now_us: u64, gives_all: bool, is_over: bool) -> Option<LeaseOp> {
        let sequence = self.sequence + 1;
        let idle_us = u64::try_from(LEASE_IDLE_MAX.as_micros()).unwrap_or(u64::MAX);
        let is_idle = self.open == 0 && now_us.saturating_sub(self.used_us) >= idle_us;
        let gives = if self.waiting.is_empty() { gives_all || is_over || is_idle } else { gives_all };
        // Too little for the requests waiting here may be enough for one on another replica.
        if self.available > 0 && gives && !self.can_serve() {
            return Some(LeaseOp::Return { sequence, amount: self.available });
        }
        let first = self.waiting.first_key_value();
        // A smaller need than the centre last had too little for has no answer yet.
        let is_answered = first.is_none_or(|(first, _)| {
            self.unreachable || self.too_little_for.is_none_or(|need| first.least >= need)
        });
        // A recall ends what is asked ahead of need. Who waits goes on asking: the recall may be its own.
        if (gives_all || is_over) && self.waiting.is_empty() || is_answered && now_us < self.ask_after_us {
            return None;
        }
        if let Some((first, _)) = first {
            let wanted = self.waiting.values().fold(0_i64, |sum, most| sum.saturating_add(*most));
            let divisible = self.waiting.iter().any(|(ticket, most)| *most > ticket.least);
            let (least, wanted) =
                (first.least.saturating_sub(self.available), wanted.saturating_sub(self.available));
            return (least > 0).then_some(LeaseOp::Ask(LeaseRequest { sequence, least, wanted, divisible }));
        }
        let is_low = self.open > 0 && self.available < self.slice / 4 && self.too_little_for.is_none();
        is_low.then_some(LeaseOp::Ask(LeaseRequest { sequence, least: 0, wanted: 0, divisible: false }))
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "commitment_tests.rs"]
mod commitment_tests;

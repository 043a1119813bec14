//! What one exchange reserves of rate limits and budgets: taken before it starts, released when it is over,
//! exactly once.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use domain::limits::{BUDGET_WAIT_MAX, COMMITMENT_WAIT_MAX};
use domain::{
    Budget, BudgetClaim, BudgetId, Charge, Counts, Drawn, Fault, Limits, Nanos, OnReached, Profile,
    RateLimitStates, Subject, WorkspaceId,
};
use tokio::time::{Instant, timeout_at};

use crate::allowances::{CoreAllowances, LimitState};
use crate::local_budget::{LocalBudget, Outlook, Ticket};
use crate::meter::Meter;
use crate::refusal;

/// A budget with room for no more than so many attempts is near its end.
const NEAR_ATTEMPTS: i64 = 4;

/// The limits and budgets that apply to a request.
#[derive(Debug, Default)]
pub struct Bounds {
    pub limits: Vec<(Subject, Limits)>,
    pub budgets: Vec<Arc<Budget>>,
    /// The commitments of the workspace's credentials, of which an attempt draws on its own credential's.
    pub commitments: Vec<Arc<Budget>>,
    /// Expected tokens, for the token rate.
    pub tokens: u64,
}

/// A request that a rate limit refuses.
#[derive(Debug)]
pub struct Refused {
    pub fault: Box<Fault>,
    pub standings: RateLimitStates,
}

#[derive(Debug)]
struct RateReservation {
    subject: Subject,
    limits: Limits,
    meter: Arc<Meter>,
    entered: bool,
    requests: bool,
    tokens: Option<u64>,
}

#[derive(Debug)]
struct BudgetReservation {
    budget: Arc<Budget>,
    pool: Arc<LocalBudget>,
    reserved: i64,
    open: bool,
    /// Everything that the exchange can cost is reserved.
    whole: bool,
}

/// What one exchange reserves of its budgets, for something that costs once the exchange is over: whoever makes it takes it
/// over, and holds it until its cost is known.
#[derive(Debug)]
pub struct ReservationHandover {
    /// One part for each budget, also of those that are not enforced.
    pub parts: Vec<Drawn>,
    is_taken: Cell<bool>,
}

impl ReservationHandover {
    /// From now on somebody else holds the parts.
    pub fn take(&self) {
        self.is_taken.set(true);
    }
}

/// The rate-limit and budget reservations of one exchange. Dropping it releases everything.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<LimitState>,
    metered: Vec<RateReservation>,
    purchases: Vec<BudgetReservation>,
    commitments: Vec<BudgetReservation>,
    handover: Option<Rc<ReservationHandover>>,
    expected_tokens: u64,
    now_us: u64,
}

/// How an attempt stands to the commitment of its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// The credential has no commitment.
    None,
    /// It draws on the commitment.
    Within(BudgetClaim),
    /// The commitment is used up.
    UsedUp(BudgetClaim),
}

/// What an attempt may cost, for each way of counting, on top of what is owed for earlier attempts.
#[derive(Debug, Clone, Copy)]
pub struct Ceiling {
    pub profile: Profile,
    pub most: Charge,
    /// The minimum with which starting is worthwhile: its prompt as expected, and all of an answer that can't be cut.
    pub least: Charge,
    /// How long it may wait for the reservations of other exchanges.
    pub patience: Duration,
}

impl Reservation {
    /// Takes what the rate limits require. `None` if the request has neither limits nor budgets.
    ///
    /// # Errors
    /// If a rate limit is used up; nothing is held then.
    pub fn take(
        core: &CoreAllowances,
        workspace: WorkspaceId,
        bounds: Bounds,
        now_us: u64,
        now_unix_ms: u64,
    ) -> Result<Option<Box<Self>>, Box<Refused>> {
        if bounds.limits.is_empty() && bounds.budgets.is_empty() && bounds.commitments.is_empty() {
            return Ok(None);
        }
        let shared = Arc::clone(core.shared());
        let metered = bounds.limits.into_iter().map(|(subject, limits)| RateReservation {
            meter: core.meter(workspace, &subject, now_us),
            limits: shared_out(&shared, limits),
            subject,
            entered: false,
            requests: false,
            tokens: None,
        });
        let metered = metered.collect();
        let closed = |budget: Arc<Budget>| BudgetReservation {
            pool: core.pool(&budget, now_unix_ms),
            budget,
            reserved: 0,
            open: false,
            whole: false,
        };
        let mut hold = Box::new(Self {
            shared,
            metered,
            purchases: bounds.budgets.into_iter().map(closed).collect(),
            commitments: bounds.commitments.into_iter().map(closed).collect(),
            handover: None,
            expected_tokens: bounds.tokens,
            now_us,
        });
        for at in 0..hold.metered.len() {
            if let Err(fault) = hold.enter(at) {
                return Err(Box::new(Refused { fault, standings: hold.rate_limit_status(now_us) }));
            }
        }
        Ok(Some(hold))
    }

    fn enter(&mut self, at: usize) -> Result<(), Box<Fault>> {
        let (tokens, now_us) = (self.expected_tokens, self.now_us);
        let Some(metered) = self.metered.get_mut(at) else { return Ok(()) };
        let limits = metered.limits;
        if let Some(limit) = limits.concurrent_streams {
            if !metered.meter.enter(limit) {
                return Err(refusal::crowded(&metered.subject, limit));
            }
            metered.entered = true;
        }
        if let Some(limit) = limits.requests_per_minute {
            if let Err(wait_ms) = metered.meter.requests.take(1, limit, now_us) {
                return Err(refusal::limited(&metered.subject, "requests", limit, wait_ms));
            }
            metered.requests = true;
        }
        if let Some(limit) = limits.tokens_per_minute {
            if let Err(wait_ms) = metered.meter.tokens.take(tokens, limit, now_us) {
                return Err(refusal::limited(&metered.subject, "tokens", limit, wait_ms));
            }
            metered.tokens = Some(tokens.min(limit));
        }
        Ok(())
    }

    /// The rate-limit state for the response headers: of several limits, the one with the least remaining.
    pub fn rate_limit_status(&self, now_us: u64) -> RateLimitStates {
        let requests = self.metered.iter().filter_map(|metered| {
            let limit = metered.limits.requests_per_minute?;
            Some(metered.meter.requests.standing(limit, now_us))
        });
        let tokens = self.metered.iter().filter_map(|metered| {
            let limit = metered.limits.tokens_per_minute?;
            Some(metered.meter.tokens.standing(limit, now_us))
        });
        RateLimitStates {
            requests: requests.min_by_key(|standing| standing.remaining),
            tokens: tokens.min_by_key(|standing| standing.remaining),
        }
    }

    pub fn has_budgets(&self) -> bool {
        !self.purchases.is_empty()
    }

    pub(crate) fn drawings(&self) -> Vec<BudgetClaim> {
        self.purchases.iter().map(BudgetReservation::claim).collect()
    }

    /// Whether a budget has hardly room for exchanges that cost so much.
    pub(crate) fn lacks_room_for(&self, total: impl Fn(Counts) -> Nanos) -> bool {
        self.purchases.iter().filter(|purchase| purchase.budget.on_reached != OnReached::Allow).any(
            |purchase| {
                let most = total(purchase.budget.counts).0.saturating_sub(purchase.reserved);
                most > 0 && !purchase.pool.has_room(most.saturating_mul(NEAR_ATTEMPTS))
            },
        )
    }

    /// Reserves the cost of an attempt in every budget. It waits briefly for a lease, and as patiently as the attempt may for
    /// other exchanges, which have reserved more than most of them use.
    ///
    /// # Errors
    /// 429 or 402 if a budget is used up, 503 if its state can't be determined.
    pub(crate) async fn reserve(
        &mut self,
        ceiling: Ceiling,
        so_far: impl Fn(Counts) -> Nanos,
        now_us: impl Fn() -> u64,
        now_unix_ms: u64,
    ) -> Result<(), Box<Fault>> {
        let started = std::cell::OnceCell::new();
        for purchase in &mut self.purchases {
            if purchase.budget.on_reached == OnReached::Allow {
                continue;
            }
            let counts = purchase.budget.counts;
            let total = |charge: &Charge| so_far(counts).plus(counts.of(ceiling.profile, charge)).0;
            let (least, most) = (total(&ceiling.least), total(&ceiling.most));
            let (mut least, mut most) = (least - purchase.reserved, most - purchase.reserved);
            if purchase.open {
                // An earlier attempt's reservation is kept; only what is missing is added.
                let more = if most > 0 { purchase.pool.reserve_more(most, now_us()) } else { 0 };
                purchase.reserved += more;
                (least, most) = (least - more, most - more);
                purchase.whole = most <= 0;
                if least <= 0 {
                    continue;
                }
                // That this replica has too little says nothing about the budget: the attempt waits in the
                // queue.
            }
            let taken = match purchase.pool.reserve(least, most, now_us()) {
                Some(taken) if self.shared.is_valid(now_us()) || most <= 0 => taken,
                Some(taken) => {
                    purchase.pool.settle(taken, 0, now_us());
                    return Err(refusal::unknown(&purchase.budget));
                }
                None => {
                    let start = *started.get_or_init(Instant::now);
                    // Its own reservation is settled by nobody else.
                    let patience = if purchase.open { Duration::ZERO } else { ceiling.patience };
                    let until = (start + BUDGET_WAIT_MAX, start + patience.max(BUDGET_WAIT_MAX));
                    wait(&self.shared, purchase, (least, most), &now_us, until, now_unix_ms).await?
                }
            };
            if std::mem::replace(&mut purchase.open, true) {
                // Still one open exchange, however many reservations it made.
                purchase.pool.settle(0, 0, now_us());
            }
            purchase.reserved += taken;
            purchase.whole = taken >= most;
        }
        Ok(())
    }

    /// Draws an attempt on the commitment of its credential, with `least` of its cost, which is what it is
    /// certain to use. If it `waits`, it does so briefly, for what other replicas may return. Where it can't be
    /// determined what is left, the attempt counts as within: a minimum spend forbids nothing, and no failure
    /// may send a request elsewhere.
    pub(crate) async fn draw(
        &mut self,
        commitment: BudgetId,
        least: i64,
        waits: bool,
        now_us: impl Fn() -> u64,
    ) -> Draw {
        let Some(drawing) = self.commitments.iter_mut().find(|one| one.budget.id == commitment) else {
            return Draw::None;
        };
        let claim = drawing.claim();
        if drawing.open {
            // An earlier attempt drew on it, and the sum of both is settled.
            return Draw::Within(claim);
        }
        let most = least.max(1);
        let taken = match drawing.pool.reserve(1, most, now_us()) {
            Some(taken) => Some(taken),
            None if !waits => None,
            None if self.shared.is_valid(now_us()) && !drawing.pool.is_centre_away() => {
                wait_for_commitment(&self.shared, &drawing.pool, most, &now_us).await
            }
            None => drawing.pool.reserve(0, 0, now_us()),
        };
        let Some(taken) = taken else { return Draw::UsedUp(claim) };
        (drawing.open, drawing.reserved) = (true, taken);
        Draw::Within(claim)
    }

    /// Whether an answer may continue, given its certain cost `now` and, if less than its ceiling is
    /// reserved, its expected cost `soon`.
    pub(crate) fn covers(
        &mut self,
        now: impl Fn(Counts) -> Nanos,
        soon: impl Fn(Counts) -> Nanos,
        now_us: u64,
    ) -> bool {
        let mut covered = true;
        for purchase in self.purchases.iter_mut().filter(|purchase| purchase.open) {
            let counts = purchase.budget.counts;
            let used = if purchase.whole { now(counts) } else { soon(counts) };
            let missing = used.0.saturating_sub(purchase.reserved);
            if missing > 0 {
                // Four times what is missing, so that not every event has to reserve.
                let more = purchase.pool.reserve_more(missing.saturating_mul(4), now_us);
                purchase.reserved += more;
                covered &= more >= missing;
                if more < missing {
                    purchase.pool.record_refusal();
                    self.shared.lease_wakeup.notify_one();
                }
            }
        }
        covered
    }

    /// Offers what is reserved now to whoever holds it beyond the end of the exchange.
    pub(crate) fn hand_over(&mut self) -> Rc<ReservationHandover> {
        let parts = self.purchases.iter().map(|purchase| Drawn {
            budget: purchase.budget.id,
            period_unix_ms: purchase.pool.period_unix_ms,
            amount: Nanos(purchase.reserved),
        });
        let handover = Rc::new(ReservationHandover { parts: parts.collect(), is_taken: Cell::new(false) });
        self.handover = Some(Rc::clone(&handover));
        handover
    }

    /// The budget whose end cut the answer.
    pub(crate) fn cut(&self) -> Option<&Budget> {
        self.purchases.iter().find(|purchase| purchase.open).map(|purchase| &*purchase.budget)
    }

    /// The exchange is over: it used these tokens and cost this much.
    pub(crate) fn settle(
        &mut self,
        tokens: u64,
        spent: impl Fn(Counts) -> Nanos,
        committed: impl Fn(BudgetId) -> Nanos,
        now_us: u64,
    ) {
        for drawing in self.commitments.iter_mut().filter(|drawing| drawing.open) {
            drawing.pool.settle(drawing.reserved, committed(drawing.budget.id).0, now_us);
            (drawing.open, drawing.reserved) = (false, 0);
        }
        let handover = self.handover.take().filter(|handover| handover.is_taken.get());
        let mut handed = handover.iter().flat_map(|handover| &handover.parts).map(|part| part.amount.0);
        for purchase in &mut self.purchases {
            let spent = spent(purchase.budget.counts).0.saturating_add(handed.next().unwrap_or(0));
            if purchase.open {
                purchase.pool.settle(purchase.reserved, spent, now_us);
            } else if purchase.budget.on_reached == OnReached::Pause && spent > 0 {
                purchase.pool.overdraw(spent);
            }
            (purchase.open, purchase.reserved) = (false, 0);
        }
        for metered in &mut self.metered {
            if let (Some(taken), Some(limit)) = (metered.tokens.take(), metered.limits.tokens_per_minute) {
                if tokens > taken {
                    metered.meter.tokens.charge(tokens - taken, limit, now_us);
                } else {
                    metered.meter.tokens.refund(taken - tokens, limit);
                }
            }
            metered.requests = false;
            if std::mem::take(&mut metered.entered) {
                metered.meter.exit();
            }
        }
    }
}

impl Drop for Reservation {
    /// Dropped without settling: nothing came of the exchange, so nothing of it counts.
    fn drop(&mut self) {
        for metered in &mut self.metered {
            if let (true, Some(limit)) = (metered.requests, metered.limits.requests_per_minute) {
                metered.meter.requests.refund(1, limit);
            }
        }
        let now_us = self.now_us;
        self.settle(0, |_| Nanos::ZERO, |_| Nanos::ZERO, now_us);
    }
}

impl BudgetReservation {
    fn claim(&self) -> BudgetClaim {
        BudgetClaim {
            budget: self.budget.id,
            period_unix_ms: self.pool.period_unix_ms,
            counts: self.budget.counts,
        }
    }
}

/// The fault with which the rate limits would refuse a request now; nothing is taken of them.
pub fn would_refuse(
    shared: &LimitState,
    workspace: WorkspaceId,
    bounds: &Bounds,
    now_us: u64,
) -> Option<Box<Fault>> {
    bounds.limits.iter().find_map(|(subject, limits)| {
        // A subject without a meter has used nothing, and a request is never more than the whole of a limit.
        let meter = shared.known_meter(workspace, subject)?;
        let limits = shared_out(shared, *limits);
        if let Some(limit) = limits.concurrent_streams.filter(|limit| meter.is_crowded(*limit)) {
            return Some(refusal::crowded(subject, limit));
        }
        let requests = limits.requests_per_minute.map(|limit| ("requests", &meter.requests, 1, limit));
        let tokens = limits.tokens_per_minute.map(|limit| ("tokens", &meter.tokens, bounds.tokens, limit));
        requests.into_iter().chain(tokens).find_map(|(unit, bucket, amount, limit)| {
            let wait_ms = bucket.check(amount, limit, now_us).err()?;
            Some(refusal::limited(subject, unit, limit, wait_ms))
        })
    })
}

fn shared_out(shared: &LimitState, limits: Limits) -> Limits {
    let share = |limit: Option<u64>| limit.map(|limit| shared.replica_share(limit));
    Limits {
        requests_per_minute: share(limits.requests_per_minute),
        tokens_per_minute: share(limits.tokens_per_minute),
        concurrent_streams: share(limits.concurrent_streams),
    }
}

/// A slot in the queue, given up on every exit.
struct QueueSlot<'a>(&'a LocalBudget, Ticket);

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

async fn wait(
    shared: &LimitState,
    purchase: &BudgetReservation,
    (least, most): (i64, i64),
    now_us: &impl Fn() -> u64,
    (mut until, last): (Instant, Instant),
    now_unix_ms: u64,
) -> Result<i64, Box<Fault>> {
    let pool = &*purchase.pool;
    let reached = || refusal::reached(&purchase.budget, pool, now_unix_ms);
    if pool.outlook(least, now_us()) != Outlook::Wait {
        return Err(reached());
    }
    let Some(ticket) = pool.enqueue(least, most, now_us()) else { return Err(reached()) };
    let queued = QueueSlot(pool, ticket);
    loop {
        let changed = pool.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if !shared.is_valid(now_us()) {
            return Err(refusal::unknown(&purchase.budget));
        }
        if let Some(taken) = pool.take_waited(ticket, most, now_us()) {
            return Ok(taken);
        }
        if pool.outlook(least, now_us()) == Outlook::Exhausted {
            drop(queued);
            return Err(reached());
        }
        shared.lease_wakeup.notify_one();
        if timeout_at(until, changed).await.is_err() {
            let is_known = pool.is_centre_reachable(now_us());
            if is_known && until < last && pool.may_settle(least) {
                until = last.min(until + BUDGET_WAIT_MAX);
                continue;
            }
            tracing::debug!(?pool, "a request waited in vain for a budget");
            drop(queued);
            return Err(if is_known { reached() } else { refusal::unknown(&purchase.budget) });
        }
        // Lets other waiters that woke at the same time run.
        tokio::time::sleep(Duration::ZERO).await;
    }
}

/// Waits for a part of a commitment that this replica has none of; `None` if it is used up.
async fn wait_for_commitment(
    shared: &LimitState,
    pool: &LocalBudget,
    most: i64,
    now_us: &impl Fn() -> u64,
) -> Option<i64> {
    if pool.is_used_up(now_us()) {
        return None;
    }
    let (until, began_us) = (Instant::now() + COMMITMENT_WAIT_MAX, now_us());
    let ticket = pool.enqueue(1, most, began_us)?;
    let _queued = QueueSlot(pool, ticket);
    loop {
        let changed = pool.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if let Some(taken) = pool.take_waited(ticket, most, now_us()) {
            return Some(taken);
        }
        if !shared.is_valid(now_us()) {
            return pool.reserve(0, 0, now_us());
        }
        if pool.is_used_up(now_us()) {
            return None;
        }
        shared.lease_wakeup.notify_one();
        if timeout_at(until, changed).await.is_err() {
            // Silence of the database is a failure, and no failure sends a request elsewhere.
            let is_refused = pool.is_centre_reachable(now_us()) && pool.is_refused_since(began_us);
            return if is_refused { None } else { pool.reserve(0, 0, now_us()) };
        }
    }
}

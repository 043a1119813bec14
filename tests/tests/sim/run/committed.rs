//! Commitments in a run: drawing on them, the calls to the centre that shares them out, and the neighbour that
//! draws on the same ones.

use std::collections::BTreeMap;

use board::AvailabilityView;
use domain::{BudgetId, Principal};
use ledger::simulation::now;
use ledger::{CommitmentDraw, Tab};
use world::{Clock, Random, SeededRandom};

use super::{Event, Run};
use crate::commitments::{Replica, Share, TESTED};
use crate::exchange::{Exchange, PROMPT_BYTES, Permit, Stage, drawing};
use crate::fixture::{COMMITTED, RULES};

const NOVEMBER_UNIX_MS: u64 = 1_698_796_800_000;
const DECEMBER_UNIX_MS: u64 = 1_701_388_800_000;
const LEASE_EVERY_US: u64 = 100_000;

/// Two commitments of a few to a few dozen requests each, in micro-USD.
pub(super) fn amounts(random: &SeededRandom) -> [u64; 2] {
    [1_000 + random.below(6_000), 1_000 + random.below(6_000)]
}

/// Time that stands still but for `Run::advance`.
pub(super) fn timers() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("it needs no resource")
}

pub(super) const fn is_next_month(unix_ms: u64) -> bool {
    unix_ms >= DECEMBER_UNIX_MS
}

const fn month(unix_ms: u64) -> u64 {
    if is_next_month(unix_ms) { DECEMBER_UNIX_MS } else { NOVEMBER_UNIX_MS }
}

impl Run {
    /// Schedules what happens to commitments: a turn of the month, a neighbour, and a centre that is away.
    pub(super) fn script_commitments(&mut self, span_us: u64) {
        if self.chance(3) == 0 {
            let before_ms = self.chance(span_us) / 1_000;
            self.books.clock.set_unix_ms(DECEMBER_UNIX_MS - before_ms);
        }
        if self.chance(4) == 0 {
            self.only = Some(COMMITTED);
        }
        if self.neighbour.is_some() {
            for _ in 0..self.chance(30) {
                let at = self.chance(span_us);
                self.plan_event(at, Event::NeighbourBegins);
            }
        }
        if self.chance(4) == 0 {
            let from = self.chance(span_us);
            let until = from + self.chance(8_000_000);
            self.plan_event(from, Event::CentreAway(true));
            self.plan_event(until, Event::CentreAway(false));
        }
    }

    pub(super) fn pick_workspace(&self) -> usize {
        let count = u64::try_from(RULES.len()).expect("few");
        usize::try_from(self.chance(count)).expect("few")
    }

    /// Advances the clocks; the timers follow where something waits for them.
    pub(super) fn advance(&self, us: u64) {
        self.books.clock.advance_us(us);
        let is_waited_for = !self.seeking.is_empty()
            || self.open.values().any(|one| matches!(one.stage, Stage::Drawing { .. }));
        if us > 0 && is_waited_for {
            self.timers.block_on(tokio::time::advance(std::time::Duration::from_micros(us)));
        }
    }

    /// Draws an attempt on the commitment of its credential, as the journey does before the intent.
    pub(super) fn draw(&mut self, mut exchange: Exchange, tab: Tab, permit: Permit) {
        let attempt = &exchange.attempts[permit.seat];
        let (Principal::Credential(credential), Some(commitment)) =
            (attempt.principal(), attempt.commitment())
        else {
            return self.intend(exchange, tab, permit);
        };
        let mark = commitment.mark(exchange.received_unix_ms);
        // A hedge is made of what this replica has of the commitment, or not at all.
        let is_hedge = permit.beside.is_some();
        let waits = !is_hedge && !self.board.is_commitment_spent(attempt.principal(), mark, self.now_us());
        let spills = is_hedge || exchange.course.can_spill(&exchange.attempts);
        let future = drawing(tab, credential, attempt.rates(), (spills, waits));
        exchange.stage = Stage::Drawing { future, permit, waits, is_known: true };
        self.plan_lease(1_000);
        if !self.poll_draw(exchange) {
            self.report.waited_to_draw += 1;
        }
    }

    /// Whether the draw is decided.
    fn poll_draw(&mut self, mut exchange: Exchange) -> bool {
        let Stage::Drawing { mut future, permit, waits, mut is_known } =
            std::mem::replace(&mut exchange.stage, Stage::Moving)
        else {
            panic!("nothing is drawn");
        };
        is_known &= !self.is_centre_blurred;
        let polled = {
            let _entered = self.timers.enter();
            now(future.as_mut())
        };
        match polled {
            None => {
                exchange.stage = Stage::Drawing { future, permit, waits, is_known };
                self.open.insert(exchange.number, exchange);
                false
            }
            Some((tab, draw)) => {
                self.drawn(exchange, tab, permit, draw, (waits, is_known));
                true
            }
        }
    }

    fn drawn(
        &mut self,
        mut exchange: Exchange,
        mut tab: Tab,
        permit: Permit,
        draw: CommitmentDraw,
        (waited, is_known): (bool, bool),
    ) {
        let now_us = self.now_us();
        let attempt = &exchange.attempts[permit.seat];
        let (principal, Some(commitment)) = (attempt.principal(), attempt.commitment()) else {
            panic!("it drew on a commitment");
        };
        let share = share_of(principal, exchange.period_unix_ms);
        self.note(|| {
            format!("{draw:?} {principal}, waited: {waited}, {:?}", self.replica.core.shared().pools())
        });
        if draw == CommitmentDraw::Within {
            self.report.drawn += 1;
            self.report.drawn_blindly += u64::from(!is_known);
            let prompt = ledger::estimate(PROMPT_BYTES, 0, false);
            let least = ledger::charge(principal.profile(), attempt.rates(), 0, &prompt).provider_cost.0;
            self.truth.fills.drew(share, exchange.trace, least, is_known);
            return self.intend(exchange, tab, permit);
        }
        if let Some(first) = permit.beside {
            assert_eq!(draw, CommitmentDraw::Spilled, "a hedge goes beyond no commitment");
            self.report.hedges_uncovered += 1;
            self.truth.calls(exchange.trace).refuse();
            let due_us = first.due_us;
            return self.wait_for(exchange, tab, first, due_us);
        }
        self.board.note_spent_commitment(principal, commitment.mark(exchange.received_unix_ms), now_us);
        self.truth.found_used_up(self.life, principal, share, waited, now_us);
        if draw == CommitmentDraw::Beyond {
            self.report.beyond += 1;
            return self.intend(exchange, tab, permit);
        }
        self.report.spilled += 1;
        tab.record_rejected(plan::rejected_as_spent(attempt));
        drop(permit);
        exchange.course.untried();
        self.truth.spilled(exchange.trace);
        assert!(exchange.course.spill(&exchange.attempts), "it spills to nowhere");
        self.ask_seat(exchange, tab);
    }

    /// The month of a request that was just admitted: the one in which it came, unless it has waited until another was
    /// in use.
    pub(super) fn period(&self, received_unix_ms: u64) -> u64 {
        let pools = self.replica.core.shared().pools();
        let newest = pools.iter().map(|pool| pool.period_unix_ms).max();
        newest.unwrap_or_default().max(month(received_unix_ms))
    }

    pub(super) fn plan_lease(&mut self, after_us: u64) {
        if !std::mem::replace(&mut self.is_lease_planned, true) {
            let at = self.now_us() + 1 + self.chance(after_us);
            self.plan_event(at, Event::Lease);
        }
    }

    /// Both replicas call the centre; what waited for its reply continues.
    pub(super) fn lease(&mut self) {
        self.is_lease_planned = false;
        let is_lost = self.chance(60) == 0;
        self.centre.lose_replies(is_lost);
        self.replica.turn();
        self.centre.lose_replies(false);
        self.is_centre_blurred = is_lost || self.is_centre_away;
        if let Some(neighbour) = &self.neighbour {
            neighbour.replica.turn();
        }
        let drawing = self.open.iter().filter(|(_, one)| matches!(one.stage, Stage::Drawing { .. }));
        for number in drawing.map(|(number, _)| *number).collect::<Vec<_>>() {
            // If the disk died, no exchange continues.
            if self.books.disk.is_dead() {
                return;
            }
            if let Some(exchange) = self.open.remove(&number) {
                self.poll_draw(exchange);
            }
        }
        let is_needed =
            self.open.values().any(|one| one.attempts.iter().any(|seat| seat.commitment().is_some()));
        if is_needed || self.neighbour.as_ref().is_some_and(|neighbour| neighbour.is_busy()) {
            self.plan_lease(LEASE_EVERY_US);
        }
    }

    pub(super) fn centre_away(&mut self, is_away: bool) {
        self.is_centre_away = is_away;
        self.is_centre_blurred = true;
        self.centre.set_away(is_away);
        self.answers.set_away(is_away);
        self.plan_lease(LEASE_EVERY_US);
    }

    /// One pass of the drainer, which needs the centre's database.
    pub(super) fn drain(&mut self) {
        if !self.is_centre_away {
            drop(self.books.drain());
            self.settle_drained();
        }
    }

    /// The records that were stored move what they drew from leases to the spent amounts, in one transaction.
    pub(super) fn settle_drained(&self) {
        for record in self.books.sink.take_fresh() {
            self.centre.settle(TESTED, &record.drawn);
        }
    }

    /// A process that starts waits for the database first.
    pub(super) fn start_replica(&mut self) {
        self.centre_away(false);
        self.settle_drained();
        self.replica = Replica::start(&self.centre, TESTED, &self.books.world);
        self.is_centre_blurred = false;
    }

    pub(super) fn neighbour_begins(&mut self) {
        let (now_us, unix_ms) = (self.now_us(), self.books.clock.unix_ms());
        let budgets = self.fixture.budgets();
        let budget = &budgets[usize::try_from(self.chance(2)).expect("small")];
        let (least, extra) = (1_500, i64::try_from(self.chance(500_000)).expect("small"));
        let number = self.next_event;
        let after_us = 1_000 + self.chance(3_000_000);
        let Some(neighbour) = &mut self.neighbour else { return };
        let pool = neighbour.replica.core.shared().pool(budget, unix_ms);
        if let Some(reserved) = neighbour.begin(&pool, number, (least, least + extra), now_us) {
            self.truth.fills.beside((budget.id, month(unix_ms)), reserved, 0);
            self.plan_event(now_us + after_us, Event::NeighbourEnds(number));
        }
        self.plan_lease(LEASE_EVERY_US);
    }

    pub(super) fn neighbour_ends(&mut self, number: u64) {
        let now_us = self.now_us();
        let Some(neighbour) = &mut self.neighbour else { return };
        if let Some(job) = neighbour.end(number, now_us) {
            let share = (job.pool.budget, job.pool.period_unix_ms);
            self.truth.fills.beside(share, -job.reserved, job.cost);
        }
    }

    /// The checks once nothing is in flight: the centre's balances are what the records draw, nothing is
    /// leased any more, and every commitment was filled first and hardly exceeded.
    pub(super) fn check_commitments(&self) {
        self.centre.set_away(false);
        self.replica.check_held(&self.centre, TESTED);
        if let Some(neighbour) = &self.neighbour {
            neighbour.check_held();
        }
        self.replica.close();
        if let Some(neighbour) = &self.neighbour {
            neighbour.replica.close();
        }
        assert_eq!(self.centre.lease_total(), 0, "a commitment is leased while nobody uses it");
        let limits: BTreeMap<BudgetId, i64> = self.fixture.committed().collect();
        let spent = self.truth.check_commitments(&self.books, &limits);
        assert_eq!(self.centre.spent(), spent, "the centre's balances are not what the records draw");
    }
}

/// The commitment of a credential in a month.
fn share_of(principal: Principal, period_unix_ms: u64) -> Share {
    let Principal::Credential(id) = principal else { panic!("{principal} has no commitment") };
    (BudgetId::of_commitment(id), period_unix_ms)
}

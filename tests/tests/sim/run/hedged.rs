//! Hedges and other models in a run: a second call beside a silent one, and what an exchange goes on with once its model
//! has failed.

use std::sync::Arc;

use board::Ticket;
use domain::{FaultClass, Outcome, Usage};
use execute::AttemptFailure;
use ledger::simulation::now;
use ledger::{AttemptEnd, Tab};

use super::{Run, TOKENS, fault, micros};
use crate::exchange::{Asked, Exchange, PROMPT_BYTES, Permit, Stage};
use crate::upstream::Reply;

impl Run {
    /// Waits for a call that may be hedged, if it stays silent for so long.
    pub(super) fn wait_to_hedge(&mut self, exchange: Exchange, tab: Tab, asked: Asked) {
        let after_us = exchange.timeouts.hedge_after.map(micros);
        let until_us = after_us.map_or(asked.due_us, |after_us| asked.due_us.min(asked.sent_us + after_us));
        self.wait_for(exchange, tab, asked, until_us);
    }

    pub(super) fn wait_for(&mut self, mut exchange: Exchange, tab: Tab, asked: Asked, until_us: u64) {
        exchange.stage = Stage::Asking { tab, asked, chunks: 0 };
        self.wait(exchange, until_us.saturating_sub(self.now_us()));
    }

    /// Makes a second call beside a silent one, if everything allows it.
    pub(super) fn hedge(&mut self, exchange: Exchange, tab: Tab, first: Asked) {
        let due_us = first.due_us;
        let Some((seat, ticket)) = self.beside(&exchange, tab.has_budgets()) else {
            return self.wait_for(exchange, tab, first, due_us);
        };
        let (now_us, attempt) = (self.now_us(), &exchange.attempts[seat]);
        self.truth.asked(self.life, exchange.trace, attempt, now_us);
        self.truth.retry(self.life, attempt.base_url(), now_us);
        self.draw(exchange, tab, Permit { seat, ticket, beside: Some(first) });
    }

    fn beside(&self, exchange: &Exchange, has_budgets: bool) -> Option<(usize, Ticket)> {
        let now_us = self.now_us();
        let seat = exchange.course.beside(&exchange.attempts, has_budgets)?;
        let attempt = &exchange.attempts[seat];
        let ticket = self.board.claim(&attempt.seat_key(), TOKENS, false, now_us).ok()?;
        self.board.take_retry(attempt.base_url(), now_us).then_some((seat, ticket))
    }

    pub(super) fn poll_hedge(&mut self, mut exchange: Exchange) {
        let Stage::Hedging { mut future, ticket, seat, first } =
            std::mem::replace(&mut exchange.stage, Stage::Moving)
        else {
            panic!("nothing is hedged");
        };
        match now(future.as_mut()) {
            None => {
                exchange.stage = Stage::Hedging { future, ticket, seat, first };
                self.open.insert(exchange.number, exchange);
                self.plan_turn();
            }
            Some((tab, Ok(started))) => {
                self.report.hedges += 1;
                let now_us = self.now_us();
                exchange.course.tried();
                let second = self.asked(&exchange, (seat, started.number), ticket);
                let first_us = first.due_us.min(second.due_us).saturating_sub(now_us);
                exchange.stage = Stage::Racing { tab, racers: [first, second] };
                self.wait(exchange, first_us);
            }
            Some((tab, Err(fault))) => {
                assert_eq!(fault.code, "storage_full");
                self.report.hedges_refused += 1;
                self.truth.calls(exchange.trace).refuse();
                let due_us = first.due_us;
                self.wait_for(exchange, tab, first, due_us);
            }
        }
    }

    /// One of two calls ends: if it answers, the other is cancelled, and otherwise that one is waited for.
    pub(super) fn raced(&mut self, mut exchange: Exchange, mut tab: Tab, [first, second]: [Asked; 2]) {
        let now_us = self.now_us();
        let (ended, mut other) = if first.due_us <= now_us { (first, second) } else { (second, first) };
        if let Some(failure) = self.failure_of(&exchange, ended.reply) {
            self.end_failed(&mut exchange, &mut tab, ended, &failure);
            // The other one is tried in its place already.
            self.truth.waits(exchange.trace);
            tab.answered_by(other.number);
            let due_us = other.due_us;
            return self.wait_for(exchange, tab, other, due_us);
        }
        self.report.hedged += 1;
        let outrun = AttemptFailure::new(fault(FaultClass::Cancelled));
        if let Some(verdict) = outrun.verdict(now_us) {
            other.ticket.report(verdict, now_us);
        }
        let usage = ledger::estimate(PROMPT_BYTES, 0, exchange.stream);
        let end = AttemptEnd { fault: Some(FaultClass::Cancelled), usage, ..AttemptEnd::default() };
        tab.end_attempt(other.number, end);
        self.truth.calls(exchange.trace).outrun(other.number, usage);
        tab.answered_by(ended.number);
        self.replied(exchange, tab, ended, 0);
    }

    /// What a call failed with before anything of an answer was there.
    pub(super) fn failure_of(&self, exchange: &Exchange, reply: Reply) -> Option<AttemptFailure> {
        let failed = |class| AttemptFailure::new(fault(class));
        match reply {
            Reply::Refused { status, class, retry_after_ms, should_retry, token_refused, .. } => {
                let mut failure = failed(class);
                failure.fault.retry_after_ms = retry_after_ms;
                Some(AttemptFailure { status: Some(status), should_retry, token_refused, ..failure })
            }
            Reply::Silent if self.now_us() >= exchange.deadline_us => Some(failed(FaultClass::Deadline)),
            Reply::Silent => Some(failed(FaultClass::Timeout)),
            Reply::Streamed { cut_after: Some(0), .. } => {
                Some(AttemptFailure { status: Some(200), ..failed(FaultClass::StreamBroken) })
            }
            Reply::Whole { .. } | Reply::Streamed { .. } => None,
        }
    }

    /// Ends a call that failed.
    pub(super) fn end_failed(
        &mut self,
        exchange: &mut Exchange,
        tab: &mut Tab,
        mut asked: Asked,
        failure: &AttemptFailure,
    ) {
        let (now_us, class) = (self.now_us(), failure.class());
        if let Some(verdict) = failure.verdict(now_us) {
            asked.ticket.report(verdict, now_us);
        }
        if class == FaultClass::RateLimit {
            let named_us = failure.fault.retry_after_ms.map(|wait_ms| now_us + wait_ms * 1_000);
            let attempt = &exchange.attempts[asked.seat];
            self.truth.limited(self.life, exchange.trace, attempt, named_us, now_us);
        }
        self.note_failure(exchange, class);
        self.truth.calls(exchange.trace).failed(asked.number);
        let end = AttemptEnd { status: failure.status, fault: Some(class), ..AttemptEnd::default() };
        tab.end_attempt(asked.number, end);
        self.plan_turn();
    }

    /// The current model failed at a seat, or could not be asked there.
    pub(super) fn note_failure(&mut self, exchange: &mut Exchange, class: FaultClass) {
        self.truth.failed_at_model(exchange.trace, class);
        if let Some(fallbacks) = &mut exchange.fallbacks {
            fallbacks.note(class);
        }
    }

    /// Goes on with another model, if the route has one for the last failure, or ends the request.
    pub(super) fn leave_model(&mut self, mut exchange: Exchange, mut tab: Tab, class: FaultClass) {
        let tries = exchange.course.tries();
        let next = exchange.fallbacks.as_mut().and_then(|fallbacks| {
            let cause = fallbacks.cause()?;
            fallbacks.leave(cause, tries).map(|next| (cause, next))
        });
        let Some((cause, (on, next, course))) = next else {
            return self.close(tab, Outcome::Failed, Some(&fault(class)), Usage::default(), false);
        };
        self.report.model_fallbacks += 1;
        let row =
            plan::rejected_model(exchange.attempt().seat(), on, &exchange.model, &next.model, "simulated");
        self.truth.left_model(exchange.trace, (on, cause), &next.model);
        tab.record_model_fallback(Arc::clone(&next.model), row);
        (exchange.model, exchange.attempts, exchange.course) = (next.model, next.attempts, course);
        self.ask_seat(exchange, tab);
    }
}

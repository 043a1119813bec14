//! Hedging: where a route asks for it, a second attempt beside one that stays silent. The first that answers
//! serves; the other is cancelled, and what it may have used is metered.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use dialects::BufferedAnswer;
use domain::{Fault, FaultClass, Usage};
use egress::{Headers, Request};
use ledger::AttemptEnd;
use operations::Booking;
use plan::Attempt;
use tokio::time::{Instant, timeout};

use crate::attempt::{self, Start};
use crate::attempt_stream::AttemptStream;
use crate::exchange::{Exchange, HeldRequest};
use crate::failure::AttemptFailure;
use crate::open_attempt::OpenAttempt;
use crate::retry_loop::{AttemptOutcome, RetryLoop, wait_for_head, wait_for_rest};
use crate::timer::Timer;

/// A buffered answer, with what it was made of.
struct WholeAnswer {
    open: OpenAttempt,
    answer: Result<(Headers, BufferedAnswer, Booking), AttemptFailure>,
}

/// One of the two attempts.
enum Running {
    Stream(Box<AttemptStream>),
    Whole(Pin<Box<dyn Future<Output = WholeAnswer>>>),
}

/// An attempt that may win.
struct Racer {
    attempt: Rc<Attempt>,
    number: u32,
    held: HeldRequest,
    running: Running,
}

/// The end of a racer: of a stream its first event, of a buffered answer the whole.
enum Finish {
    Stream(Result<(), AttemptFailure>),
    Whole(Box<WholeAnswer>),
}

impl Finish {
    const fn is_answer(&self) -> bool {
        match self {
            Self::Stream(result) => result.is_ok(),
            Self::Whole(whole) => whole.answer.is_ok(),
        }
    }
}

impl Exchange {
    /// After which silence a second attempt is made, if the route asks for it and the request may be sent
    /// twice: it creates nothing at the provider, opens no session, and its body is held.
    pub(crate) fn hedges_after(&self, is_native: bool) -> Option<Duration> {
        let after = self.timeouts.hedge_after?;
        let (facts, request) = (self.call.spec().facts(), self.call.request());
        let may_repeat = facts.counts_tokens
            && !facts.is_session
            && facts.object().is_none()
            && self.call.upload().is_none()
            && request.stored.is_none()
            && !request.is_background
            && !self.is_stored_by_provider(is_native);
        may_repeat.then_some(after)
    }
}

impl RetryLoop {
    /// Waits for an attempt, and after this silence for another one, too.
    pub(crate) async fn try_hedged(
        &mut self,
        attempt: &Rc<Attempt>,
        open: OpenAttempt,
        request: Request,
        after: Duration,
    ) -> AttemptOutcome {
        let until = Instant::now() + self.head_left();
        let held = std::mem::take(&mut self.held);
        let mut first = self.racer(attempt, open, request, held);
        if let Ok(finish) = timeout(after, first.finish(until)).await {
            return self.conclude(first, finish);
        }
        let Some(mut second) = self.second(&first).await else {
            let finish = first.finish(until).await;
            return self.conclude(first, finish);
        };
        let (is_first, finish) = tokio::select! {
            biased;
            finish = first.finish(until) => (true, finish),
            finish = second.finish(until) => (false, finish),
        };
        let (ended, mut other) = if is_first { (first, second) } else { (second, first) };
        if finish.is_answer() {
            self.cancel(other);
            self.tab.answered_by(ended.number);
            return self.conclude(ended, finish);
        }
        if let AttemptOutcome::Failed(failure) = self.conclude(ended, finish) {
            self.record_failure(failure);
        }
        self.tab.answered_by(other.number);
        let finish = other.finish(until).await;
        self.conclude(other, finish)
    }

    fn racer(&self, attempt: &Rc<Attempt>, open: OpenAttempt, request: Request, held: HeldRequest) -> Racer {
        let (exchange, number) = (&self.exchange, open.number());
        let attempt = Rc::clone(attempt);
        if exchange.call.request().stream {
            let mut stream = Box::new(AttemptStream::new(exchange, &attempt, open, request, held.clone()));
            stream.tries_on_seat = self.failover.tries_on_seat();
            stream.tries = self.failover.tries();
            return Racer { attempt, number, held, running: Running::Stream(stream) };
        }
        let whole = whole_answer(Rc::clone(exchange), held.clone(), Rc::clone(&attempt), open, request);
        Racer { attempt, number, held, running: Running::Whole(Box::pin(whole)) }
    }

    /// Starts the second attempt, on the next seat of the same kind, if everything allows it.
    async fn second(&mut self, first: &Racer) -> Option<Racer> {
        let exchange = Rc::clone(&self.exchange);
        let deps = &exchange.deps;
        let beside = self.failover.beside(&self.attempts, self.tab.has_budgets())?;
        let attempt = Rc::clone(self.attempts.get(beside)?);
        let now_us = deps.now_us();
        let ticket = attempt::claim(&exchange, &attempt, false, now_us).ok()?;
        // It is one more call beside the first, as a retry is.
        deps.board.take_retry(attempt.base_url(), now_us).then_some(())?;
        let mut held = first.held.clone();
        let started = attempt::begin_beside(&exchange, &mut held, &attempt, &mut self.tab, ticket).await;
        let (open, request) = match started {
            Start::Ready(open, request) => (open, request),
            Start::Failed(open, failure) => {
                open.end_as_failed(&mut self.tab, &failure, Usage::default(), deps.now_us());
                self.tab.answered_by(first.number);
                return None;
            }
            Start::Refused(_) | Start::Spilled => return None,
        };
        self.failover.tried();
        Some(self.racer(&attempt, open, request, held))
    }

    fn conclude(&mut self, racer: Racer, finish: Finish) -> AttemptOutcome {
        let Racer { attempt, held, running, .. } = racer;
        match (running, finish) {
            (Running::Stream(stream), Finish::Stream(result)) => self.stream_outcome(stream, result),
            (_, Finish::Whole(whole)) => {
                self.held = held;
                let WholeAnswer { open, answer } = *whole;
                match answer {
                    Ok((headers, whole, booking)) => self.answered(&attempt, &headers, open, whole, booking),
                    Err(failure) => self.end_failed(open, failure),
                }
            }
            (Running::Whole(_), Finish::Stream(_)) => AttemptOutcome::Refused(Box::new(Fault::internal())),
        }
    }

    /// The other one answered first. Its provider may bill the prompt.
    fn cancel(&mut self, racer: Racer) {
        let failure = AttemptFailure::outrun();
        let Racer { attempt, number, held, running } = racer;
        match running {
            Running::Stream(mut stream) => {
                stream.end_as_failed(&mut self.tab, &failure);
            }
            Running::Whole(whole) => {
                drop(whole);
                let usage = self.exchange.usage_without_answer(&held, &attempt, &failure);
                let fault = Some(FaultClass::Cancelled);
                self.tab.end_attempt(number, AttemptEnd { fault, usage, ..AttemptEnd::default() });
            }
        }
    }
}

impl Racer {
    /// Waits for the end; it can be awaited again if the wait was given up.
    async fn finish(&mut self, until: Instant) -> Finish {
        match &mut self.running {
            Running::Stream(stream) => Finish::Stream(stream.wait_first(until).await),
            Running::Whole(whole) => Finish::Whole(Box::new(whole.as_mut().await)),
        }
    }
}

async fn whole_answer(
    exchange: Rc<Exchange>,
    held: HeldRequest,
    attempt: Rc<Attempt>,
    mut open: OpenAttempt,
    request: Request,
) -> WholeAnswer {
    let mut timer = Timer::new(&exchange.deps.timers);
    let deadline = Instant::now() + exchange.time_left_at(open.sent_us());
    let mut opened = match wait_for_head(&exchange, &attempt, &request, &mut timer, deadline).await {
        Ok(opened) => opened,
        Err(failure) => return WholeAnswer { open, answer: Err(failure) },
    };
    drop(request);
    open.record_head(&opened, exchange.deps.now_us());
    let rest = wait_for_rest(&exchange, &held, &attempt, &open, &mut opened, &mut timer, deadline).await;
    let answer = rest.map(|(whole, booking)| (opened.headers, whole, booking));
    WholeAnswer { open, answer }
}

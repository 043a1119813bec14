//! The retry loop over a plan's attempts: the same seat again, the next seat, or a
//! failure that says what was tried.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use board::{Availability, Ticket};
use bytes::Bytes;
use decode::SplitCall;
use dialects::BufferedAnswer;
use domain::limits::PACE_WAIT_MAX;
use domain::timeline::micros;
use domain::{
    Blame, FallbackClass, Fault, FaultClass, ModelFallbackClass, OverflowReason, Upload, UpstreamReport,
};
use egress::{Headers, Request};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use ledger::Tab;
use operations::{Booking, ContentType};
use plan::{Attempt, Planned, Seat};
use tokio::time::{Instant, sleep};

use crate::answer::{Answer, AnswerBody, AnswerParts, Failed, Served};
use crate::attempt::{self, Start};
use crate::attempt_stream::AttemptStream;
use crate::exchange::{Exchange, HeldRequest};
use crate::failover::{DenialAction, FailoverState, class_of};
use crate::failure::{AttemptFailure, refusal};
use crate::limits::NODE_QUEUE_WAIT_MAX;
use crate::model_fallback::ModelFallbacks;
use crate::open_attempt::{OpenAttempt, dropped_answer_header, dropped_header};
use crate::realtime::{self, OpenSession, RealtimeResponse, SessionSeat};
use crate::schedule::{self, Step};
use crate::send::send_and_follow;
use crate::timer::{Alarm, Timer};
use crate::upstream::{UpstreamResponse, forwarded_headers, stream_failure};
use crate::usage::{Outcome, usage};
use crate::{Deps, preview, read, stored, stored_objects};

/// Tells a node how long a request may wait in its queue, in milliseconds.
const QUEUE_WAIT: &str = "x-hybrie-queue-wait-ms";

/// Tries a plan's attempts until one answers. A buffered answer is complete; a stream has its first event, or
/// is still silent when the head wait ends.
///
/// # Errors
/// No upstream answered; the fault says which one said what, and the tab is still open.
pub fn execute(planned: Planned, deps: &Deps) -> impl Future<Output = Result<Answer, Box<Failed>>> + use<> {
    // Outside the future, which would otherwise hold the plan's parts for as long as an upstream takes.
    let mut retry_loop = RetryLoop::begin(planned, deps);
    async move {
        match retry_loop.walk().await {
            Some(reply) => Ok(retry_loop.answer(reply)),
            None => Err(retry_loop.failed()),
        }
    }
}

/// Opens a realtime session on one of a plan's seats. Its first response belongs to this exchange.
///
/// # Errors
/// No upstream accepted it; the fault says which one said what, and the tab is still open.
pub async fn open_session(planned: Planned, deps: &Deps) -> Result<OpenSession, Box<Failed>> {
    let mut retry_loop = RetryLoop::begin(planned, deps);
    let Some(reply) = Box::pin(retry_loop.walk()).await else { return Err(retry_loop.failed()) };
    let Some(upgraded) = retry_loop.upgraded.take() else { return Err(retry_loop.failed()) };
    let UpgradedSocket { socket, attempt, open } = *upgraded;
    let parts = retry_loop.answer(reply).into_parts();
    let first = RealtimeResponse::new(parts.exchange, attempt, open, parts.tab, parts.served);
    Ok(OpenSession { socket, first, header_map: parts.header_map, upstream_headers: parts.upstream_headers })
}

/// Starts a further response of a session, on the session's seat.
///
/// # Errors
/// The seat may not be called now, or the journal has no room. The tab is still open.
pub async fn begin_response(
    planned: Planned,
    deps: &Deps,
    seat: &SessionSeat,
) -> Result<RealtimeResponse, Box<Failed>> {
    let mut retry_loop = RetryLoop::begin(planned, deps);
    let exchange = Rc::clone(&retry_loop.exchange);
    let Some(attempt) = retry_loop.attempts.iter().find(|attempt| seat.is_of(attempt)).map(Rc::clone) else {
        retry_loop.record_failure(AttemptFailure::new(realtime::seat_gone()));
        return Err(retry_loop.failed());
    };
    let now_us = deps.now_us();
    let ticket = match attempt::claim(&exchange, &attempt, true, now_us) {
        Ok(ticket) => ticket,
        Err(standing) => {
            let failure = retry_loop.denial_failure(&attempt, standing, now_us);
            retry_loop.record_failure(failure);
            return Err(retry_loop.failed());
        }
    };
    match realtime::begin(&exchange, &retry_loop.held.body, &attempt, &mut retry_loop.tab, ticket).await {
        Ok(open) => {
            retry_loop.failover.tried();
            let served = retry_loop.served_by(&attempt);
            Ok(RealtimeResponse::new(exchange, attempt, open, retry_loop.tab, served))
        }
        Err(fault) => {
            retry_loop.record_failure(AttemptFailure::of_boxed(fault));
            Err(retry_loop.failed())
        }
    }
}

/// Marks a token count as our own estimate.
const ESTIMATE: HeaderName = HeaderName::from_static("x-tidegate-estimate");
const SWITCHING_PROTOCOLS: u16 = 101;

pub(crate) struct RetryLoop {
    pub(crate) exchange: Rc<Exchange>,
    pub(crate) held: HeldRequest,
    pub(crate) attempts: Vec<Rc<Attempt>>,
    pub(crate) failover: FailoverState,
    pub(crate) tab: Tab,
    /// The other models that the exchange may go on with. Boxed: few routes have some.
    pub(crate) fallbacks: Option<Box<ModelFallbacks>>,
    header_map: HeaderMap,
    /// On the monotonic clock.
    started_us: u64,
    /// The failure that the client would be sent now.
    pub(crate) reported_failure: Option<AttemptFailure>,
    /// The earliest time at which an upstream that limits us may be called again.
    limited_until_us: Option<u64>,
    /// A commitment was found used up.
    pub(crate) has_spilled: bool,
    /// Seats that the plan left out, since their provider asked to wait, and for how many milliseconds.
    resting: Vec<(Attempt, u64)>,
    /// The seats behind the current one that can't be asked for this request are gone from `attempts`.
    pub(crate) is_fitness_known: bool,
    /// A retry was refused because there were too many to its upstream already.
    is_retry_budget_spent: bool,
    /// The last seat that failed. Boxed: few exchanges have one, and every future is as large as what it holds.
    failed_at: Option<Box<Served>>,
    /// The result of a handshake, in place of an answer's body.
    upgraded: Option<Box<UpgradedSocket>>,
}

/// A session's upstream connection, and the attempt that opened it.
struct UpgradedSocket {
    socket: egress::Socket,
    attempt: Rc<Attempt>,
    open: OpenAttempt,
}

pub(crate) struct Reply {
    served: Served,
    body: AnswerBody,
    upstream_headers: Vec<(HeaderName, HeaderValue)>,
}

/// The outcome of one seat.
enum SeatOutcome {
    Answered(Box<Reply>),
    /// Its last failure allows the next seat to be tried.
    Exhausted(FaultClass),
    /// Its commitment is used up, which is no failure.
    Spilled,
    /// It can't be asked for this request, and another one is next.
    Unfit,
    Stop,
}

/// The outcome of one attempt.
pub(crate) enum AttemptOutcome {
    Answered(Box<Reply>),
    Failed(AttemptFailure),
    Refused(Box<Fault>),
    Spilled,
}

impl RetryLoop {
    fn begin(planned: Planned, deps: &Deps) -> Self {
        let parts = planned.into_parts();
        let (call, caller, mut tab) = parts.admitted.into_parts();
        let SplitCall { call, body, header_map } = call.split();
        tab.record_plan(Arc::clone(&parts.resolved_model), parts.record);
        tab.record_manifest(parts.manifest_revision);
        if let Some(screening) = call.screening() {
            tab.screened(screening.found.borrow().clone(), screening.hook_calls.borrow().clone());
        }
        let now_us = deps.now_us();
        tab.timeline_mut().planned_us = now_us.saturating_sub(call.received_us());
        let deadline_us = call.received_us().saturating_add(micros(parts.timeouts.deadline));
        let exchange = Rc::new(Exchange {
            call,
            caller,
            resolved_model: parts.resolved_model,
            timeouts: parts.timeouts,
            tracks_prefixes: parts.tracks_prefixes,
            deadline_us,
            deps: deps.clone(),
        });
        let mut retry_loop = Self {
            started_us: now_us,
            fallbacks: ModelFallbacks::of(parts.fallbacks, &parts.fallback_on),
            failover: FailoverState::starting_at(parts.fallback_on, &parts.attempts),
            attempts: parts.attempts.into_iter().map(Rc::new).collect(),
            exchange,
            held: HeldRequest { body, ..HeldRequest::default() },
            tab,
            header_map,
            reported_failure: None,
            limited_until_us: None,
            has_spilled: false,
            resting: parts.resting,
            is_fitness_known: false,
            is_retry_budget_spent: false,
            failed_at: None,
            upgraded: None,
        };
        if retry_loop.fallbacks.is_some() {
            retry_loop.leave_too_small();
        }
        retry_loop
    }

    async fn walk(&mut self) -> Option<Box<Reply>> {
        let mut now_us = self.started_us;
        loop {
            let attempt = Rc::clone(self.attempts.get(self.failover.index())?);
            match self.try_seat(&attempt, now_us).await {
                SeatOutcome::Answered(reply) => return Some(reply),
                SeatOutcome::Unfit => {}
                SeatOutcome::Exhausted(class) if self.failover.leave(&self.attempts, class) => {
                    self.left(&attempt, class);
                }
                SeatOutcome::Spilled if self.failover.spill(&self.attempts) => self.spilled(&attempt),
                SeatOutcome::Exhausted(_) | SeatOutcome::Spilled | SeatOutcome::Stop => {
                    if !self.leave_model() {
                        return None;
                    }
                }
            }
            now_us = self.exchange.now_us();
        }
    }

    async fn try_seat(&mut self, attempt: &Rc<Attempt>, mut now_us: u64) -> SeatOutcome {
        if let Some(bytes) = self.own_count(attempt) {
            let mut upstream_headers = vec![(ESTIMATE, HeaderValue::from_static("1"))];
            upstream_headers.extend(dropped_header(self.exchange.call.unheeded()));
            let (served, body) = (self.served_by(attempt), AnswerBody::Own(bytes));
            return SeatOutcome::Answered(Box::new(Reply { served, body, upstream_headers }));
        }
        let board = Rc::clone(&self.exchange.deps.board);
        board.first_try(attempt.base_url(), now_us);
        loop {
            if self.exchange.time_left_at(now_us).is_zero() {
                self.record_failure(AttemptFailure::deadline());
                return SeatOutcome::Stop;
            }
            let ticket = match self.leave(attempt, now_us).await {
                Ok(ticket) => ticket,
                Err(end) => return end,
            };
            self.failover.tried();
            let failure = match self.try_once(attempt, ticket).await {
                AttemptOutcome::Answered(reply) => return SeatOutcome::Answered(reply),
                AttemptOutcome::Failed(failure) => failure,
                AttemptOutcome::Spilled => {
                    self.failover.untried();
                    return SeatOutcome::Spilled;
                }
                AttemptOutcome::Refused(fault) if self.pass_over(&fault) => return SeatOutcome::Unfit,
                AttemptOutcome::Refused(fault) => {
                    let fault = self.limited_instead(fault);
                    self.name_uncalled(attempt);
                    if let Some(fallbacks) = &mut self.fallbacks {
                        fallbacks.refuse(fault.class);
                    }
                    self.reported_failure = Some(AttemptFailure::of_boxed(fault));
                    return SeatOutcome::Stop;
                }
            };
            self.leave_unfit();
            let (class, is_plain_next) = (failure.class(), failure.context_refused);
            self.failover.failed(&self.attempts, class);
            let step = self.step_after(&failure);
            self.failed_at = Some(Box::new(self.served_by(attempt)));
            self.record_failure(failure);
            match step {
                Step::Next => return SeatOutcome::Exhausted(class),
                Step::GiveUp => return SeatOutcome::Stop,
                Step::Again { wait } => {
                    // What our own cache cost is no sign of an upstream in trouble.
                    let may_repeat =
                        is_plain_next || board.take_retry(attempt.base_url(), self.exchange.deps.now_us());
                    if !may_repeat {
                        self.is_retry_budget_spent = true;
                        return SeatOutcome::Exhausted(class);
                    }
                    sleep(wait).await;
                    now_us = self.exchange.now_us();
                }
            }
        }
    }

    /// The client is told whose seat would have served, where nothing was sent to it and no other one failed: its credential
    /// may be parked.
    fn name_uncalled(&mut self, attempt: &Attempt) {
        let model = || Arc::clone(self.exchange.model_of(attempt));
        self.failed_at.get_or_insert_with(|| Box::new(Served::uncalled(attempt, model())));
    }

    /// Goes on from a seat that can't be asked for this request to one that can.
    fn pass_over(&mut self, fault: &Fault) -> bool {
        if fault.class != FaultClass::Unsupported {
            return false;
        }
        self.leave_unfit();
        let goes_on = self.failover.pass_over(&self.attempts);
        if goes_on {
            self.failover.untried();
        }
        goes_on
    }

    /// Drops the seats behind this one that can't be asked for this request, as soon as one of them may be next: they say
    /// nothing about those that can. `true` if there were some.
    fn leave_unfit(&mut self) -> bool {
        let index = self.failover.index();
        if std::mem::replace(&mut self.is_fitness_known, true) || self.exchange.is_body_consumed() {
            return false;
        }
        let (before, mut seat) = (self.attempts.len(), 0);
        let mut attempts = std::mem::take(&mut self.attempts);
        attempts.retain(|attempt| {
            seat += 1;
            seat <= index + 1 || self.is_fit(attempt)
        });
        self.attempts = attempts;
        self.attempts.len() < before
    }

    /// Whether a seat can be asked for this request.
    fn is_fit(&self, attempt: &Attempt) -> bool {
        let exchange = &self.exchange;
        let written = preview::would_drop(&exchange.call, &self.held.body, &exchange.caller, attempt);
        written.err().is_none_or(|fault| fault.class != FaultClass::Unsupported)
    }

    /// A seat that can't be asked for a request says nothing of one that can, and that takes requests again after a while.
    fn limited_instead(&self, fault: Box<Fault>) -> Box<Fault> {
        if fault.class != FaultClass::Unsupported || self.exchange.is_body_consumed() {
            return fault;
        }
        let fit = self.resting.iter().filter(|(attempt, _)| self.is_fit(attempt));
        fit.map(|(_, wait_ms)| *wait_ms).min().map_or(fault, plan::all_limited)
    }

    /// Another seat is next. Where that means leaving the nodes, the record shows why like what the plan rejected.
    fn left(&mut self, from: &Attempt, class: FaultClass) {
        let next = self.attempts.get(self.failover.index());
        let after = next.filter(|next| next.is_after_nodes() && !from.is_after_nodes());
        if let (Some(next), Some(class)) = (after, FallbackClass::of(class)) {
            self.tab.record_rejected(plan::left_node(from.seat(), class, next.profile()));
        }
    }

    /// The commitment of this seat is used up. The record shows it like what the plan rejected.
    fn spilled(&mut self, attempt: &Attempt) {
        self.has_spilled = true;
        self.tab.record_rejected(plan::rejected_as_spent(attempt));
    }

    /// The estimated answer to a count request, if the provider can't count this model's tokens.
    fn own_count(&self, attempt: &Attempt) -> Option<Bytes> {
        let call = &self.exchange.call;
        let is_own = call.spec().facts().only_counts
            && providers::provider(attempt.provider())
                .grammars(call.operation(), attempt.upstream_model())
                .is_empty();
        let grammar = self.exchange.dialect().grammar();
        let tokens = || self.exchange.estimate(&self.held, attempt, "", 0).input;
        is_own.then(|| dialects::count_answer(grammar, tokens()))
    }

    /// Gets the board's permission, waiting for it if the wait is short and no other
    /// seat of the same kind is left.
    async fn leave(&mut self, attempt: &Rc<Attempt>, mut now_us: u64) -> Result<Ticket, SeatOutcome> {
        let exchange = Rc::clone(&self.exchange);
        let deps = &exchange.deps;
        // A model that is out of order is not tried in spite of the board where another takes its place.
        let has_other = self.fallbacks.as_ref().is_some_and(|other| other.has(ModelFallbackClass::Transient));
        let turn_until_us = now_us.saturating_add(micros(PACE_WAIT_MAX));
        loop {
            let is_last = !has_other && self.failover.is_last(&self.attempts);
            let standing = match attempt::claim(&exchange, attempt, is_last, now_us) {
                Ok(ticket) => return Ok(ticket),
                Err(_) if self.leave_unfit() => continue,
                Err(standing) => standing,
            };
            let parked_for = deps
                .board
                .parking(attempt.principal(), attempt.upstream_model())
                .map(|parking| parking.cause);
            let random = || deps.world.random.next_u64();
            let left = match standing {
                Availability::Paced { .. } => Duration::from_micros(turn_until_us.saturating_sub(now_us)),
                _ => exchange.time_left(),
            };
            match self.failover.on_denied(&self.attempts, standing, parked_for, now_us, left, random) {
                // Its turn comes after its deadline.
                DenialAction::Wait(wait) if wait >= exchange.time_left() => {
                    self.name_uncalled(attempt);
                    self.record_failure(AttemptFailure::deadline());
                    return Err(SeatOutcome::Stop);
                }
                DenialAction::Wait(wait) => sleep(wait).await,
                DenialAction::Left(class) => {
                    self.name_uncalled(attempt);
                    let failure = self.denial_failure(attempt, standing, now_us);
                    self.record_failure(failure);
                    return Err(SeatOutcome::Exhausted(class));
                }
            }
            now_us = deps.now_us();
        }
    }

    async fn try_once(&mut self, attempt: &Rc<Attempt>, ticket: Ticket) -> AttemptOutcome {
        let exchange = Rc::clone(&self.exchange);
        let can_spill = self.failover.can_spill(&self.attempts);
        let (mut open, mut request) = match attempt::begin(
            &exchange,
            &mut self.held,
            attempt,
            &mut self.tab,
            ticket,
            can_spill,
        )
        .await
        {
            Start::Spilled => return AttemptOutcome::Spilled,
            Start::Ready(open, request) => (open, request),
            Start::Refused(fault) => return AttemptOutcome::Refused(fault),
            Start::Failed(open, failure) => {
                return self.end_failed(open, failure);
            }
        };
        request.headers.extend(self.queue_wait(attempt));
        let facts = exchange.call.spec().facts();
        if facts.is_session {
            return Box::pin(self.open_websocket(attempt, open, request)).await;
        }
        if exchange.timeouts.hedge_after.is_some()
            && let Some(after) = exchange.hedges_after(open.is_native())
        {
            // Boxed: few routes ask for it.
            return Box::pin(self.try_hedged(attempt, open, request, after)).await;
        }
        if exchange.call.request().stream {
            let held = std::mem::take(&mut self.held);
            let mut stream = Box::new(AttemptStream::new(&exchange, attempt, open, request, held));
            stream.tries_on_seat = self.failover.tries_on_seat();
            stream.tries = self.failover.tries();
            return self.wait_for_stream(stream).await;
        }
        if facts.object().is_some()
            && let Err(failure) =
                Box::pin(stored_objects::poll_before_delete(&exchange, attempt, open.is_native())).await
        {
            return self.end_failed(open, exchange.rewrite_not_found(failure));
        }
        let mut timer = Timer::new(&exchange.deps.timers);
        let deadline = Instant::now() + exchange.time_left_at(open.sent_us());
        let mut opened = match wait_for_head(&exchange, attempt, &request, &mut timer, deadline).await {
            Ok(opened) => opened,
            Err(failure) => return self.end_failed(open, failure),
        };
        // Its secret is not held while the body arrives.
        drop(request);
        open.record_head(&opened, exchange.deps.now_us());
        match wait_for_rest(&exchange, &self.held, attempt, &open, &mut opened, &mut timer, deadline).await {
            Ok((whole, booking)) => self.answered(attempt, &opened.headers, open, whole, booking),
            Err(failure) => self.end_failed(open, failure),
        }
    }

    /// How long the request may wait in a node's queue, if another seat would take it after a refusal.
    fn queue_wait(&self, attempt: &Attempt) -> Option<(HeaderName, HeaderValue)> {
        if !attempt.is_node() || !self.failover.may_leave_queue(&self.attempts) {
            return None;
        }
        // A stream can leave the node only while its head is held back.
        let left = if self.exchange.call.request().stream { self.head_left() / 2 } else { Duration::MAX };
        let most = NODE_QUEUE_WAIT_MAX.min(self.exchange.timeouts.first_byte).min(left);
        let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Some((HeaderName::from_static(QUEUE_WAIT), HeaderValue::from(most_ms)))
    }

    /// Requests a session from the upstream.
    async fn open_websocket(
        &mut self,
        attempt: &Rc<Attempt>,
        mut open: OpenAttempt,
        request: Request,
    ) -> AttemptOutcome {
        let exchange = Rc::clone(&self.exchange);
        let mut timer = Timer::new(&exchange.deps.timers);
        let deadline = Instant::now() + exchange.time_left_at(open.sent_us());
        let limit = exchange.timeouts.first_byte;
        let handshake = pin!(realtime::handshake(&exchange, attempt, &request));
        let upgraded = match timer.within(limit, deadline, handshake).await {
            Ok(upgraded) => upgraded,
            Err(Alarm::Deadline) => Err(AttemptFailure::deadline()),
            Err(Alarm::Silence) => {
                Err(AttemptFailure::timeout(attempt.provider(), "did not answer", limit.as_secs()))
            }
        };
        match upgraded {
            Ok((headers, socket)) => {
                open.record_start(SWITCHING_PROTOCOLS, exchange.deps.now_us());
                let mut upstream_headers =
                    forwarded_headers(&headers, attempt.seat(), exchange.dialect().grammar());
                upstream_headers.extend(open.dropped_params_header());
                self.upgraded = Some(Box::new(UpgradedSocket { socket, attempt: Rc::clone(attempt), open }));
                let body = AnswerBody::Own(Bytes::new());
                let served = self.served_by(attempt);
                AttemptOutcome::Answered(Box::new(Reply { served, body, upstream_headers }))
            }
            Err(failure) => self.end_failed(open, failure),
        }
    }

    async fn wait_for_stream(&mut self, mut stream: Box<AttemptStream>) -> AttemptOutcome {
        let result = stream.wait_first(Instant::now() + self.head_left()).await;
        self.stream_outcome(stream, result)
    }

    /// How long the response head is held back for the upstream's first event.
    pub(crate) fn head_left(&self) -> Duration {
        // A body that is not events is known by its content type alone, and a client that is still sending
        // reads nothing.
        if self.exchange.call.spec().facts().content_type != ContentType::Implied {
            return self.exchange.time_left();
        }
        let head_until_us = self.started_us.saturating_add(micros(self.exchange.timeouts.head_wait));
        Duration::from_micros(head_until_us.saturating_sub(self.exchange.now_us()))
    }

    pub(crate) fn stream_outcome(
        &mut self,
        mut stream: Box<AttemptStream>,
        result: Result<(), AttemptFailure>,
    ) -> AttemptOutcome {
        if let Err(failure) = result {
            let failure = self.exchange.assign_blame(stream.process_failure(failure));
            stream.end_as_failed(&mut self.tab, &failure);
            self.held = std::mem::take(&mut stream.held);
            self.held.is_plain |= failure.context_refused;
            return AttemptOutcome::Failed(failure);
        }
        let upstream_headers = std::mem::take(&mut stream.upstream_headers);
        let served = self.served_by(&stream.attempt);
        AttemptOutcome::Answered(Box::new(Reply {
            served,
            body: AnswerBody::Stream(stream),
            upstream_headers,
        }))
    }

    pub(crate) fn answered(
        &self,
        attempt: &Attempt,
        headers: &Headers,
        open: OpenAttempt,
        whole: BufferedAnswer,
        booking: Booking,
    ) -> AttemptOutcome {
        open.record_whole(self.exchange.deps.now_us());
        let BufferedAnswer { body: bytes, facts, signatures: turn, text, dropped, .. } = whole;
        if let Some(turn) = turn {
            self.exchange.store_turn(turn, attempt);
        }
        let (exchange, content_bytes) = (&self.exchange, facts.content_bytes);
        let estimate = || exchange.estimate(&self.held, attempt, &text, content_bytes);
        let outcome = Outcome::Answered { reported: facts.usage, content_bytes };
        let usage = usage(&open.known(exchange, booking), outcome, estimate);
        exchange.learn(attempt, &usage, content_bytes);
        let mut upstream_headers = forwarded_headers(headers, attempt.seat(), exchange.dialect().grammar());
        upstream_headers.extend(open.dropped_params_header());
        upstream_headers.extend(dropped_answer_header(&dropped));
        // A translated answer contains our estimate; one that is passed through does not.
        if usage.is_estimated() && !open.is_native() {
            upstream_headers.push((ESTIMATE, HeaderValue::from_static("1")));
        }
        AttemptOutcome::Answered(Box::new(Reply {
            served: self.served_by(attempt),
            body: AnswerBody::Whole { bytes, usage, open },
            upstream_headers,
        }))
    }

    pub(crate) fn end_failed(&mut self, open: OpenAttempt, failure: AttemptFailure) -> AttemptOutcome {
        let failure = self.exchange.assign_blame(open.process_failure(&self.exchange.deps, failure));
        let usage = self.exchange.usage_without_answer(&self.held, open.attempt(), &failure);
        open.end_as_failed(&mut self.tab, &failure, usage, self.exchange.deps.now_us());
        self.held.is_plain |= failure.context_refused;
        AttemptOutcome::Failed(failure)
    }

    fn step_after(&self, failure: &AttemptFailure) -> Step {
        let exchange = &self.exchange;
        let may_repeat = !exchange.is_body_consumed() && !exchange.may_have_made(failure);
        let random = exchange.deps.world.random.next_u64();
        self.failover.next_step(&self.attempts, failure, may_repeat, exchange.time_left(), random)
    }

    /// Remembers the failure that helps the client most: a rate limit that will pass says
    /// more than a refused credential.
    pub(crate) fn record_failure(&mut self, failure: AttemptFailure) {
        if let Some(fallbacks) = &mut self.fallbacks {
            fallbacks.note(failure.class());
        }
        if failure.class() == FaultClass::RateLimit {
            let now_us = self.exchange.deps.now_us();
            let named =
                failure.fault.retry_after_ms.map(|wait| now_us.saturating_add(wait.saturating_mul(1_000)));
            self.limited_until_us = schedule::earliest_ahead(self.limited_until_us, named, now_us);
        }
        let is_limit = |failure: &AttemptFailure| failure.class() == FaultClass::RateLimit;
        let keeps = self.reported_failure.as_ref().is_some_and(is_limit)
            && failure.class().blame() == Blame::Credential;
        if !keeps {
            self.reported_failure = Some(failure);
        }
    }

    /// Why a seat was not called at all.
    fn denial_failure(&self, attempt: &Attempt, standing: Availability, now_us: u64) -> AttemptFailure {
        let parking = self.exchange.deps.board.parking(attempt.principal(), attempt.upstream_model());
        let class = class_of(standing, parking.map(|parking| parking.cause));
        let wait_ms = standing.until_us().saturating_sub(now_us).div_ceil(1_000);
        let mut report =
            UpstreamReport { provider: attempt.provider().to_owned(), ..UpstreamReport::default() };
        let seconds = wait_ms.div_ceil(1_000);
        let target = match attempt.seat() {
            // The account's name is the operator's and not shown.
            Seat::Managed(_) => "it".to_owned(),
            Seat::Byok(_) | Seat::Byoc(_) => attempt.principal().to_string(),
        };
        report.message = Some(format!("it said so earlier, and {target} will be tried again in {seconds} s"));
        let mut fault = refusal(class, &report);
        if class == FaultClass::RateLimit || class == FaultClass::Overloaded {
            fault.retry_after_ms = Some(wait_ms);
        }
        AttemptFailure::new(fault).with_seat_fix(attempt.seat()).named(attempt.seat()).unsent()
    }

    /// Why the attempt takes what exceeds the customer's own capacity, if it does.
    fn overflow_reason(&self, attempt: &Attempt) -> Option<OverflowReason> {
        let planned = attempt.overflow().filter(|_| self.failover.overflows())?;
        Some(if self.has_spilled { OverflowReason::CommittedExhausted } else { planned })
    }

    fn served_by(&self, attempt: &Attempt) -> Served {
        let is_fallback = attempt.is_fallback() && !self.failover.overflows() || attempt.is_after_nodes();
        Served {
            attempts: self.failover.tries(),
            fallback_used: is_fallback || attempt.is_emergency() || attempt.fallback_model().is_some(),
            fallback_reason: self.failover.fell_back_on().filter(|_| is_fallback),
            overflow: self.overflow_reason(attempt),
            ..Served::uncalled(attempt, Arc::clone(self.exchange.model_of(attempt)))
        }
    }

    fn answer(self, reply: Box<Reply>) -> Answer {
        Answer {
            parts: AnswerParts {
                exchange: self.exchange,
                tab: self.tab,
                served: reply.served,
                upstream_headers: reply.upstream_headers,
                header_map: self.header_map,
                body: reply.body,
            },
        }
    }

    fn failed(mut self) -> Box<Failed> {
        let now_us = self.exchange.deps.now_us();
        let reported = self.reported_failure.as_mut();
        let upstream_headers = reported.map(|failure| std::mem::take(&mut failure.upstream_headers));
        let mut fault = match self.reported_failure {
            Some(failure) => failure.into_client_fault(),
            None => Box::new(Fault::internal()),
        };
        if let (FaultClass::RateLimit, Some(until_us)) = (fault.class, self.limited_until_us) {
            fault.retry_after_ms = Some(until_us.saturating_sub(now_us).div_ceil(1_000));
        }
        // SDKs retry by themselves: where we already did, calls would multiply, and where too many were
        // retried for another to be, theirs would be the ones too many.
        if self.failover.tries() > 1 || self.is_retry_budget_spent {
            fault.should_retry = Some(false);
        }
        let call = &self.exchange.call;
        let blocked =
            || dialects::render_blocked(&fault, self.exchange.dialect(), call.request(), call.trace());
        let blocked = if call.spec().facts().continues_conversation { blocked() } else { None };
        Box::new(Failed {
            fault,
            blocked,
            upstream_headers: upstream_headers.unwrap_or_default().into(),
            tab: self.tab,
            served: self.failed_at.map(|served| *served),
            trace: self.exchange.trace(),
            dialect: self.exchange.dialect(),
            has_target: call.has_target(),
        })
    }
}

pub(crate) async fn wait_for_head(
    exchange: &Exchange,
    attempt: &Rc<Attempt>,
    request: &Request,
    timer: &mut Timer,
    deadline: Instant,
) -> Result<UpstreamResponse, AttemptFailure> {
    let limit = exchange.timeouts.first_byte;
    let mut exchanging = pin!(send_and_follow(exchange, attempt, request));
    let bytes_taken = || exchange.call.upload().map_or(0, Upload::taken);
    let answered = loop {
        let taken_before = bytes_taken();
        match timer.within(limit, deadline, exchanging.as_mut()).await {
            // An upstream that takes the body is not silent.
            Err(Alarm::Silence) if bytes_taken() > taken_before => {}
            answered => break answered,
        }
    };
    match answered {
        Ok(answered) => answered.map_err(|failure| exchange.rewrite_not_found(failure)),
        Err(Alarm::Deadline) => Err(AttemptFailure::deadline()),
        Err(Alarm::Silence) => {
            Err(AttemptFailure::timeout(attempt.provider(), "did not answer", limit.as_secs()))
        }
    }
}

pub(crate) async fn wait_for_rest(
    exchange: &Rc<Exchange>,
    held: &HeldRequest,
    attempt: &Attempt,
    open: &OpenAttempt,
    opened: &mut UpstreamResponse,
    timer: &mut Timer,
    deadline: Instant,
) -> Result<(BufferedAnswer, Booking), AttemptFailure> {
    let provider = attempt.provider();
    let bytes = read::whole(&mut opened.body, timer, exchange.timeouts.idle, deadline, provider).await?;
    let bytes =
        read::decoded(&opened.headers, bytes).await.map_err(|what| AttemptFailure::broken(provider, what))?;
    let whole = operations::buffered_answer(&open.answer_path(exchange, held), bytes)
        .map_err(|fault| stream_failure(fault, provider))?;
    let is_native = open.is_native();
    let is_stored_by_provider = exchange.is_stored_by_provider(is_native);
    // Boxed: every future is as large as what is awaited inline.
    let whole = if exchange.call.is_about_object() {
        Box::pin(stored_objects::record_objects(exchange, attempt, open, whole)).await?
    } else if is_stored_by_provider || exchange.stored_id().is_some() {
        return Ok(Box::pin(stored::record_answer(
            exchange,
            attempt,
            (is_stored_by_provider, open.handover()),
            whole,
        ))
        .await);
    } else {
        whole
    };
    Ok((whole, exchange.booking(is_stored_by_provider, false)))
}

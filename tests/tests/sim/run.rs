//! One simulated run: events in virtual time, and a process that lives and dies among them.

mod storm;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use admit::{Needs, admit, identify};
use board::{Availability, AvailabilityView, Cell, Shared, Ticket, Verdict};
use decode::{Inbound, decode};
use domain::{
    Dialect, Fault, FaultClass, MeterRecord, Operation, Outcome, Principal, TraceId, Usage, UsageSource,
};
use execute::schedule::Step;
use execute::{AttemptFailure, DenialAction, FailoverState};
use ledger::simulation::{SimulatedBooks, now};
use ledger::{AttemptEnd, Closing, CoreAllowances, Durability, Tab};
use plan::plan;
use snapshot::Snapshot;
use world::{Clock, DiskFault, Random, SeededRandom};

use crate::exchange::{Exchange, Stage, intending};
use crate::fixture::{Fixture, MODEL, NODE_MODEL, RULES, Rule, headers, principals};
use crate::oracle::Truth;
use crate::upstream::{Reply, Upstream};

/// The tokens that every request is taken to need.
const TOKENS: u64 = 10;

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrive(u64),
    /// What an exchange waits for has come: the answer, a chunk, or the end of a pause.
    Wake {
        number: u64,
        wait: u32,
    },
    HangUp(u64),
    /// The end of a turn of the event loop.
    Turn,
    Change,
    Kill,
    /// The process dies in the middle of a write.
    DieSoon,
    DiskFails(bool),
}

/// What occurred in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub exchanges: u64,
    pub calls: u64,
    pub retries: u64,
    /// Waits for a seat that asked for a short delay.
    pub waits: u64,
    /// Attempts with a new token in place of a refused one.
    pub new_tokens: u64,
    pub fallbacks: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub interrupted: u64,
    pub not_planned: u64,
    pub refused_by_disk: u64,
    pub deaths: u64,
    /// A hash over all records.
    pub digest: u64,
}

pub struct Run {
    loud: bool,
    random: SeededRandom,
    books: SimulatedBooks,
    board: Rc<Cell>,
    fixture: Fixture,
    snapshot: Arc<Snapshot>,
    principals: Vec<Principal>,
    upstream: Upstream,
    /// The only workspace whose clients send requests, if the run is limited to one.
    only: Option<usize>,
    truth: Truth,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    open: BTreeMap<u64, Exchange>,
    life: u32,
    is_turn_planned: bool,
    report: Report,
}

impl Report {
    pub fn add(&mut self, other: &Self) {
        self.exchanges += other.exchanges;
        self.calls += other.calls;
        self.retries += other.retries;
        self.waits += other.waits;
        self.new_tokens += other.new_tokens;
        self.fallbacks += other.fallbacks;
        self.completed += other.completed;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.interrupted += other.interrupted;
        self.not_planned += other.not_planned;
        self.refused_by_disk += other.refused_by_disk;
        self.deaths += other.deaths;
        self.digest ^= other.digest;
    }

    /// A scenario that never meets what it is meant to exercise proves nothing.
    pub fn check_that_it_met_everything(&self) {
        let met = [
            self.exchanges,
            self.calls,
            self.retries,
            self.waits,
            self.new_tokens,
            self.fallbacks,
            self.completed,
            self.failed,
            self.cancelled,
            self.interrupted,
            self.not_planned,
            self.refused_by_disk,
            self.deaths,
        ];
        assert!(met.iter().all(|count| *count > 20), "{self:#?}");
    }
}

impl Run {
    pub fn new(seed: u64, loud: bool) -> Self {
        let random = SeededRandom::new(seed ^ 0x51D0_5EED);
        let span_us = 5_000_000 + random.below(55_000_000);
        let upstream = Upstream::script(span_us, &|bound| random.below(bound));
        let mut run = Self::over(seed, loud, random, upstream);
        run.script(span_us);
        run
    }

    /// A running process without any scheduled events.
    fn over(seed: u64, loud: bool, random: SeededRandom, upstream: Upstream) -> Self {
        let mut books = SimulatedBooks::new(seed, Durability::Written);
        books.start().expect("a fresh disk");
        let fixture = Fixture::new();
        let snapshot = fixture.snapshot();
        Self {
            loud,
            random,
            books,
            board: Cell::new(Shared::new(), 1),
            fixture,
            snapshot,
            principals: principals(),
            upstream,
            only: None,
            truth: Truth::default(),
            events: BTreeMap::new(),
            next_event: 0,
            open: BTreeMap::new(),
            life: 0,
            is_turn_planned: false,
            report: Report::default(),
        }
    }

    /// Schedules arrivals, configuration changes and deaths.
    fn script(&mut self, span_us: u64) {
        for number in 0..20 + self.chance(60) {
            let at = self.chance(span_us);
            self.plan_event(at, Event::Arrive(number));
        }
        for (count, event) in [(6, Event::Change), (2, Event::Kill), (3, Event::DieSoon)] {
            for _ in 0..self.chance(count) {
                let at = self.chance(span_us);
                self.plan_event(at, event);
            }
        }
        if self.chance(3) == 0 {
            let from = self.chance(span_us);
            let until = from + self.chance(5_000_000);
            self.plan_event(from, Event::DiskFails(true));
            self.plan_event(until, Event::DiskFails(false));
        }
    }

    pub fn go(mut self) -> Report {
        self.go_on();
        self.finish()
    }

    /// Processes events until none is left.
    fn go_on(&mut self) {
        while let Some(((at_us, _), event)) = self.events.pop_first() {
            self.books.clock.advance_us(at_us.saturating_sub(self.now_us()));
            self.note(|| format!("{event:?}"));
            self.handle(event);
            if self.books.disk.is_dead() {
                self.die();
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive(number) => self.arrive(number),
            Event::Wake { number, wait } => self.wake(number, wait),
            Event::HangUp(number) => self.hang_up(number),
            Event::Turn => self.turn(),
            Event::Change => {
                let random = &self.random;
                self.fixture.change(|bound| random.below(bound));
                self.snapshot = self.fixture.snapshot();
            }
            Event::Kill => self.die(),
            Event::DieSoon => {
                let (operations, bytes) = (1 + self.chance(12), self.chance(900));
                self.books.disk.fail_at(operations, DiskFault::Die(bytes));
            }
            Event::DiskFails(fails) => self.books.disk.fail_writes(fails.then_some(DiskFault::NoSpace)),
        }
    }

    fn arrive(&mut self, number: u64) {
        let workspace = self.only.unwrap_or_else(|| usize::try_from(self.chance(5)).expect("small"));
        let model = if RULES[workspace] == Rule::Nodes { NODE_MODEL } else { MODEL };
        let stream = self.chance(2) == 0;
        let (now_us, unix_ms) = (self.now_us(), self.books.clock.unix_ms());
        let mut id = [0; 10];
        id[2..].copy_from_slice(&number.to_be_bytes());
        let trace = TraceId::new(1_700_000_000_000, id);
        let inbound = Inbound {
            trace,
            dialect: Dialect::Chat,
            operation: Operation::Chat,
            headers: headers(workspace),
            addressed: None,
            body: chat::encode_request(model, &[("user", "Hello")], None, stream, &[]),
            form: None,
            received_us: now_us,
            received_unix_ms: unix_ms,
        };
        let headers = inbound.headers.clone();
        let call = decode(inbound, now_us).expect("a good request");
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let caller = identify(Arc::clone(&self.snapshot), &headers, peer, Needs::Inference, unix_ms);
        let journal = self.books.journal().expect("it runs");
        let admitted =
            match admit(call, caller.expect("a good key"), journal, &CoreAllowances::default(), now_us) {
                Ok(admitted) => admitted,
                Err(failed) => {
                    assert_eq!(failed.fault.code, "storage_full");
                    self.report.refused_by_disk += 1;
                    return;
                }
            };
        self.report.exchanges += 1;
        self.truth.opened(trace, workspace, &self.fixture, &self.principals);
        if self.chance(8) == 0 {
            let at = now_us + self.chance(3_000_000);
            self.plan_event(at, Event::HangUp(number));
        }
        let random = self.random.next_u64();
        let planned = match plan(admitted, &*self.board, random, now_us, unix_ms) {
            Ok(planned) => planned.into_parts(),
            Err(failed) => {
                self.report.not_planned += 1;
                let (_, _, mut tab) = failed.admitted.into_parts();
                tab.record_plan(failed.resolved_model, failed.record);
                return self.close(tab, Outcome::Failed, Some(&failed.fault), Usage::default(), false);
            }
        };
        let (_, _, mut tab) = planned.admitted.into_parts();
        tab.record_plan(planned.resolved_model, planned.record);
        let deadline_us = now_us + micros(planned.timeouts.deadline);
        let exchange = Exchange {
            number,
            trace,
            course: FailoverState::starting_at(planned.fallback_on, &planned.attempts),
            attempts: planned.attempts,
            timeouts: planned.timeouts,
            deadline_us,
            stream,
            wait: 0,
            stage: Stage::Moving,
        };
        self.ask_seat(exchange, tab);
    }

    fn ask_seat(&mut self, exchange: Exchange, tab: Tab) {
        let now_us = self.now_us();
        self.board.first_try(exchange.attempt().base_url(), now_us);
        self.truth.first_try(self.life, exchange.attempt().base_url(), now_us);
        self.ask(exchange, tab);
    }

    fn ask(&mut self, exchange: Exchange, tab: Tab) {
        if self.time_left(&exchange).is_zero() {
            let fault = fault(FaultClass::Deadline);
            return self.close(tab, Outcome::Deadline, Some(&fault), Usage::default(), false);
        }
        self.claim(exchange, tab);
    }

    /// Claims capacity from the board, and waits for it where the retry loop would.
    fn claim(&mut self, mut exchange: Exchange, tab: Tab) {
        let now_us = self.now_us();
        let (principal, model) =
            (exchange.attempt().principal(), exchange.attempt().upstream_model().to_owned());
        let is_last = exchange.course.is_last(&exchange.attempts);
        let key = exchange.attempt().seat_key();
        let standing = self.board.availability(&key, now_us);
        match self.board.claim(&key, TOKENS, is_last, now_us) {
            Ok(ticket) => {
                let must_wait =
                    matches!(standing, Availability::RetryAt { .. } | Availability::Parked { .. });
                assert!(!must_wait, "what is known to be refused is sent: {standing:?}");
                self.truth.asked(self.life, exchange.trace, principal, now_us);
                exchange.course.tried();
                let future = intending(tab, exchange.intent());
                exchange.stage = Stage::Intending { future, ticket };
                self.poll_intent(exchange);
            }
            Err(standing) => {
                let parked_for = self.board.parking(principal, &model).map(|parking| parking.cause);
                let (left, random) = (self.time_left(&exchange), || self.random.next_u64());
                let course = &exchange.course;
                match course.on_denied(&exchange.attempts, standing, parked_for, now_us, left, random) {
                    DenialAction::Wait(wait) => {
                        self.report.waits += 1;
                        self.truth.waits(exchange.trace);
                        exchange.stage = Stage::Waiting { tab };
                        self.wait(exchange, micros(wait));
                    }
                    DenialAction::Left(class) => self.onward(exchange, tab, class),
                }
            }
        }
    }

    fn time_left(&self, exchange: &Exchange) -> Duration {
        Duration::from_micros(exchange.deadline_us.saturating_sub(self.now_us()))
    }

    fn poll_intent(&mut self, mut exchange: Exchange) {
        let Stage::Intending { mut future, ticket } = std::mem::replace(&mut exchange.stage, Stage::Moving)
        else {
            panic!("nothing is intended");
        };
        match now(future.as_mut()) {
            None => {
                exchange.stage = Stage::Intending { future, ticket };
                self.open.insert(exchange.number, exchange);
                self.plan_turn();
            }
            Some((tab, Ok(started))) => self.send(exchange, tab, started.number, ticket),
            Some((tab, Err(fault))) => {
                assert_eq!(fault.code, "storage_full");
                self.close(tab, Outcome::Failed, Some(&fault), Usage::default(), false);
            }
        }
    }

    /// The intent is in the journal: only now does the upstream see the request.
    fn send(&mut self, mut exchange: Exchange, tab: Tab, number: u32, ticket: Ticket) {
        let now_us = self.now_us();
        self.truth.sent(&exchange, number);
        self.report.calls += 1;
        self.report.fallbacks += u64::from(exchange.attempt().is_fallback());
        let random = &self.random;
        let principal = exchange.attempt().principal();
        let reply = self.upstream.reply(principal, exchange.stream, now_us, &|bound| random.below(bound));
        let limit = micros(exchange.timeouts.first_byte).min(micros(self.time_left(&exchange)));
        let after_us = match reply {
            Reply::Refused { after_us, .. }
            | Reply::Whole { after_us, .. }
            | Reply::Streamed { after_us, .. } => after_us,
            Reply::Silent => limit,
        };
        exchange.stage = Stage::Asking { tab, number, ticket, sent_us: now_us, reply, chunks: 0 };
        self.wait(exchange, after_us.min(limit));
    }

    fn wait(&mut self, mut exchange: Exchange, after_us: u64) {
        exchange.wait += 1;
        let event = Event::Wake { number: exchange.number, wait: exchange.wait };
        self.plan_event(self.now_us() + after_us, event);
        self.open.insert(exchange.number, exchange);
    }

    fn wake(&mut self, number: u64, wait: u32) {
        if self.open.get(&number).is_none_or(|exchange| exchange.wait != wait) {
            return;
        }
        let Some(mut exchange) = self.open.remove(&number) else { return };
        match std::mem::replace(&mut exchange.stage, Stage::Moving) {
            Stage::Pausing { tab } => self.ask(exchange, tab),
            Stage::Waiting { tab } => self.claim(exchange, tab),
            Stage::Asking { tab, number, ticket, sent_us, reply, chunks } => {
                self.replied(exchange, tab, number, ticket, sent_us, reply, chunks);
            }
            Stage::Moving | Stage::Intending { .. } => panic!("woken while it waits for nothing"),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one stage")]
    fn replied(
        &mut self,
        mut exchange: Exchange,
        mut tab: Tab,
        number: u32,
        mut ticket: Ticket,
        sent_us: u64,
        reply: Reply,
        chunks: u32,
    ) {
        let now_us = self.now_us();
        let well = Verdict::Healthy { first_byte_us: now_us - sent_us };
        let is_fallback = exchange.attempt().is_fallback();
        match reply {
            Reply::Refused { status, class, retry_after_ms, should_retry, token_refused, .. } => {
                let fault = Fault { retry_after_ms, ..fault(class) };
                let failure = AttemptFailure {
                    status: Some(status),
                    should_retry,
                    token_refused,
                    ..AttemptFailure::new(fault)
                };
                self.missed(exchange, tab, number, ticket, &failure);
            }
            Reply::Silent if now_us >= exchange.deadline_us => {
                self.close(
                    tab,
                    Outcome::Deadline,
                    Some(&fault(FaultClass::Deadline)),
                    Usage::default(),
                    false,
                );
            }
            Reply::Silent => {
                self.missed(exchange, tab, number, ticket, &AttemptFailure::new(fault(FaultClass::Timeout)));
            }
            Reply::Whole { usage, .. } => {
                ticket.report(well, now_us);
                self.close(tab, Outcome::Completed, None, usage, is_fallback);
            }
            Reply::Streamed { cut_after: Some(0), .. } if chunks == 0 => {
                let failure = AttemptFailure {
                    status: Some(200),
                    ..AttemptFailure::new(fault(FaultClass::StreamBroken))
                };
                self.missed(exchange, tab, number, ticket, &failure);
            }
            Reply::Streamed { cut_after: Some(cut), .. } if cut == chunks => {
                // Content has been sent: only the error may follow.
                ticket.report(Verdict::Unhealthy, now_us);
                let usage = partial(chunks);
                self.close(tab, Outcome::Failed, Some(&fault(FaultClass::StreamBroken)), usage, is_fallback);
            }
            Reply::Streamed { chunks: all, usage, .. } if chunks == all => {
                ticket.report(well, now_us);
                self.close(tab, Outcome::Completed, None, usage, is_fallback);
            }
            Reply::Streamed { gap_us, .. } => {
                tab.checkpoint(partial(chunks + 1), u64::from(chunks + 1) * 200);
                self.plan_turn();
                exchange.stage = Stage::Asking { tab, number, ticket, sent_us, reply, chunks: chunks + 1 };
                self.wait(exchange, gap_us);
            }
        }
    }

    fn missed(
        &mut self,
        mut exchange: Exchange,
        mut tab: Tab,
        number: u32,
        mut ticket: Ticket,
        failure: &AttemptFailure,
    ) {
        let (now_us, class) = (self.now_us(), failure.class());
        if let Some(verdict) = failure.verdict(now_us) {
            ticket.report(verdict, now_us);
        }
        drop(ticket);
        if class == FaultClass::RateLimit {
            let named_us = failure.fault.retry_after_ms.map(|wait_ms| now_us + wait_ms * 1_000);
            self.truth.limited(self.life, exchange.trace, exchange.attempt().principal(), named_us, now_us);
        }
        exchange.course.failed(&exchange.attempts, class);
        tab.end_attempt(
            number,
            AttemptEnd { status: failure.status, fault: Some(class), ..AttemptEnd::default() },
        );
        self.plan_turn();
        let (left, random) = (self.time_left(&exchange), self.random.next_u64());
        let step = exchange.course.next_step(&exchange.attempts, failure, true, left, random);
        self.report.new_tokens += u64::from(failure.token_refused && matches!(step, Step::Again { .. }));
        match step {
            Step::Again { wait } if self.board.take_retry(exchange.attempt().base_url(), now_us) => {
                self.truth.retry(self.life, exchange.attempt().base_url(), now_us);
                self.report.retries += 1;
                self.truth.waits(exchange.trace);
                exchange.stage = Stage::Pausing { tab };
                self.wait(exchange, micros(wait));
            }
            Step::Again { .. } | Step::Next => self.onward(exchange, tab, class),
            Step::GiveUp => self.close(tab, Outcome::Failed, Some(&fault(class)), Usage::default(), false),
        }
    }

    /// Moves to the next seat that this failure allows, or ends the request.
    fn onward(&mut self, mut exchange: Exchange, tab: Tab, class: FaultClass) {
        self.truth.left(&exchange, class);
        if exchange.course.leave(&exchange.attempts, class) {
            self.ask_seat(exchange, tab);
        } else {
            self.close(tab, Outcome::Failed, Some(&fault(class)), Usage::default(), false);
        }
    }

    fn hang_up(&mut self, number: u64) {
        if let Some(exchange) = self.open.remove(&number) {
            self.report.cancelled += 1;
            self.truth.closed(exchange.trace, Outcome::ClientCancelled, Usage::default());
            drop(exchange);
            self.plan_turn();
        }
    }

    fn close(
        &mut self,
        tab: Tab,
        outcome: Outcome,
        fault: Option<&Fault>,
        usage: Usage,
        fallback_used: bool,
    ) {
        match outcome {
            Outcome::Completed => self.report.completed += 1,
            _ => self.report.failed += 1,
        }
        self.truth.closed(tab.trace(), outcome, usage);
        let status = if outcome == Outcome::Completed { 200 } else { 500 };
        tab.close(Closing { outcome, status, fault, usage, bytes_out: 100, fallback_used });
        self.plan_turn();
    }

    /// The one write of a turn; the exchanges that waited for it continue.
    fn turn(&mut self) {
        self.is_turn_planned = false;
        let written = self.books.turn().is_ok();
        if self.books.disk.is_dead() {
            return;
        }
        if written && self.books.journal().is_some_and(|journal| !journal.is_failing()) {
            self.truth.written();
        } else {
            self.is_turn_planned = true;
            self.plan_event(self.now_us() + 100_000, Event::Turn);
        }
        match self.chance(4) {
            // Background work, at random times; it retries what fails.
            0 => drop(self.books.drain()),
            1 => drop(self.books.prepare()),
            _ => {}
        }
        let waiting: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, exchange)| matches!(exchange.stage, Stage::Intending { .. }))
            .map(|(number, _)| *number)
            .collect();
        for number in waiting {
            // If the disk died under the background work, no exchange continues.
            if self.books.disk.is_dead() {
                return;
            }
            if let Some(exchange) = self.open.remove(&number) {
                self.poll_intent(exchange);
            }
        }
    }

    /// Everything in memory is lost; what was written is recovered before the new process serves requests.
    fn die(&mut self) {
        self.report.deaths += 1;
        self.books.kill();
        self.truth.died();
        self.open.clear();
        self.is_turn_planned = false;
        self.books.revive();
        while let Err(error) = self.books.start() {
            assert!(self.books.disk.is_dead(), "{error}");
            self.books.revive();
        }
        self.life += 1;
        self.board = Cell::new(Shared::new(), 1);
    }

    fn finish(mut self) -> Report {
        assert!(self.open.is_empty(), "an exchange waits for nothing");
        self.books.disk.fail_writes(None);
        while !self.rests() {
            // A planned death that took effect only now.
            assert!(self.books.disk.is_dead(), "a good disk refuses");
            self.die();
        }
        self.truth.written();
        self.truth.check(&self.books);
        let records = self.books.sink.records();
        let interrupted = records.iter().filter(|record| record.outcome == Outcome::Interrupted).count();
        self.report.interrupted = u64::try_from(interrupted).expect("small");
        self.report.digest = digest(&records);
        self.report
    }

    /// Whether everything is written and drained.
    fn rests(&self) -> bool {
        (0..3)
            .all(|_| self.books.prepare().is_ok() && self.books.turn().is_ok() && self.books.drain().is_ok())
    }

    fn plan_turn(&mut self) {
        if !self.is_turn_planned {
            self.is_turn_planned = true;
            let at = self.now_us() + self.chance(300);
            self.plan_event(at, Event::Turn);
        }
    }

    fn plan_event(&mut self, at_us: u64, event: Event) {
        self.events.insert((at_us, self.next_event), event);
        self.next_event += 1;
    }

    fn now_us(&self) -> u64 {
        self.books.clock.monotonic_us()
    }

    fn chance(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.loud {
            println!("{:>12} us, life {}: {}", self.now_us(), self.life, text());
        }
    }
}

fn fault(class: FaultClass) -> Fault {
    Fault::new(class, "simulated", "The script says so.")
}

fn partial(chunks: u32) -> Usage {
    Usage { input: 10, output: u64::from(chunks), source: UsageSource::Estimate, ..Usage::default() }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("small")
}

/// A hash of what a run decided: which seats were called, how each request ended, what was used and what is
/// owed.
fn digest(records: &[MeterRecord]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for record in records {
        (record.trace, record.outcome, record.usage.output, record.charge.cost, record.timeline.settled_us)
            .hash(&mut hasher);
        for attempt in &record.attempts {
            (attempt.principal, attempt.fault, attempt.started_us, attempt.duration_us).hash(&mut hasher);
        }
    }
    hasher.finish()
}

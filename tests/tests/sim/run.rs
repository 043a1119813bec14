//! One simulated run: events in virtual time, and a process that lives and dies among them.

mod aliased;
mod brownout;
mod cached;
mod committed;
mod hedged;
mod report;
mod storm;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use admit::{Caller, Needs, admit, identify};
use board::{Availability, AvailabilityView, Cell, Shared, Ticket, Verdict};
use decode::{Call, Inbound, decode};
use domain::{
    Dialect, Fault, FaultClass, MeterRecord, ModelFallbackClass, Operation, Outcome, Principal, TraceId,
    Usage, UsageSource,
};
use execute::schedule::Step;
use execute::{AttemptFailure, DenialAction, FailoverState, ModelFallbacks};
use ledger::simulation::{SimulatedBooks, SimulatedCentre, now};
use ledger::{Closing, Durability, Tab};
use line::{Found, Lookup, ResponseMemory};
use plan::{PlannedParts, plan};
use snapshot::Snapshot;
use world::{Clock, DiskFault, Random, SeededRandom};

use crate::aliases::{Aliases, Named};
use crate::commitments::{Neighbour, Replica, TESTED};
use crate::exchange::{Asked, Exchange, Permit, Stage, intending};
use crate::fixture::{COMMITTED, Fixture, RULES, headers, principals};
use crate::kept::{SimulatedAnswers, Wanted};
use crate::oracle::Truth;
use crate::policies;
use crate::upstream::{Reply, Upstream};
use cached::{Arrived, Seeker};

pub use cached::Lead;
pub use report::Report;

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
    /// Canaries are judged.
    Judge,
    Kill,
    /// The process dies in the middle of a write.
    DieSoon,
    DiskFails(bool),
    /// The replicas call the centre.
    Lease,
    CentreAway(bool),
    NeighbourBegins,
    NeighbourEnds(u64),
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
    /// Drives the timers of what waits, in virtual time.
    timers: tokio::runtime::Runtime,
    /// What outlives the process: the centre of budgets.
    centre: Arc<SimulatedCentre>,
    replica: Replica,
    /// The response cache: in memory, and what outlives the process.
    memory: Arc<ResponseMemory>,
    answers: Arc<SimulatedAnswers>,
    /// Those who look for an earlier answer, and what clients will ask for again.
    seeking: BTreeMap<u64, Seeker>,
    repeats: BTreeMap<u64, (Wanted, Named)>,
    next_number: u64,
    neighbour: Option<Neighbour>,
    is_centre_away: bool,
    /// It was away, or its reply was lost, and no call has succeeded since.
    is_centre_blurred: bool,
    is_lease_planned: bool,
}

impl Run {
    pub fn new(seed: u64, loud: bool) -> Self {
        let random = SeededRandom::new(seed ^ 0x51D0_5EED);
        let span_us = 5_000_000 + random.below(55_000_000);
        let upstream = Upstream::script(span_us, &|bound| random.below(bound));
        let mut run = Self::over(seed, loud, random, upstream);
        let random = &run.random;
        run.fixture.degrade(|bound| random.below(bound));
        run.fixture.keeps = cached::keepers(|bound| random.below(bound));
        run.fixture.policies = RULES.map(|_| policies::any(&|bound| random.below(bound)));
        run.snapshot = run.fixture.snapshot();
        run.script(span_us);
        run
    }

    /// A running process without any scheduled events.
    fn over(seed: u64, loud: bool, random: SeededRandom, upstream: Upstream) -> Self {
        let mut books = SimulatedBooks::new(seed, Durability::Written);
        books.start().expect("a fresh disk");
        let aliases = Aliases::new(seed, |bound| random.below(bound));
        let fixture = Fixture::new(committed::amounts(&random), aliases);
        let snapshot = fixture.snapshot();
        let is_shared = random.below(2) == 0;
        let centre =
            SimulatedCentre::new(&books.clock, 1 + u64::from(is_shared), fixture.committed().collect());
        let replica = Replica::start(&centre, TESTED, &books.world);
        let neighbour = is_shared.then(|| Neighbour::start(&centre, &books.world));
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
            timers: committed::timers(),
            centre,
            replica,
            memory: Arc::default(),
            answers: Arc::default(),
            seeking: BTreeMap::new(),
            repeats: BTreeMap::new(),
            next_number: 1_000_000,
            neighbour,
            is_centre_away: false,
            is_centre_blurred: false,
            is_lease_planned: false,
        }
    }

    /// Schedules arrivals, configuration changes and deaths.
    fn script(&mut self, span_us: u64) {
        for number in 0..20 + self.chance(60) {
            let at = self.chance(span_us);
            self.plan_event(at, Event::Arrive(number));
        }
        for (count, event) in [(12, Event::Change), (2, Event::Kill), (3, Event::DieSoon)] {
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
        self.script_commitments(span_us);
        self.script_aliases(span_us);
    }

    pub fn go(mut self) -> Report {
        self.go_on();
        self.finish()
    }

    /// Processes events until none is left.
    fn go_on(&mut self) {
        while let Some(((at_us, _), event)) = self.events.pop_first() {
            self.advance(at_us.saturating_sub(self.now_us()));
            self.note(|| format!("{event:?}"));
            self.handle(event);
            self.seek_again();
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
                let (random, unix_ms) = (&self.random, self.books.clock.unix_ms());
                self.fixture.change(unix_ms, |bound| random.below(bound));
                self.snapshot = self.fixture.snapshot();
            }
            Event::Judge => self.judge(),
            Event::Kill => self.die(),
            Event::DieSoon => {
                let (operations, bytes) = (1 + self.chance(12), self.chance(900));
                self.books.disk.fail_at(operations, DiskFault::Die(bytes));
            }
            Event::DiskFails(fails) => self.books.disk.fail_writes(fails.then_some(DiskFault::NoSpace)),
            Event::Lease => self.lease(),
            Event::CentreAway(is_away) => self.centre_away(is_away),
            Event::NeighbourBegins => self.neighbour_begins(),
            Event::NeighbourEnds(number) => self.neighbour_ends(number),
        }
    }

    fn arrive(&mut self, number: u64) {
        let (wanted, named) = self.repeats.remove(&number).unwrap_or_else(|| {
            let workspace = self.only.unwrap_or_else(|| self.pick_workspace());
            let named = self.pick_name();
            (self.pick_wanted(workspace, self.fixture.aliases.name(workspace, &named)), named)
        });
        let (now_us, unix_ms) = (self.now_us(), self.books.clock.unix_ms());
        let mut id = [0; 10];
        id[2..].copy_from_slice(&number.to_be_bytes());
        let trace = TraceId::new(1_700_000_000_000, id);
        let inbound = Inbound {
            trace,
            dialect: Dialect::Chat,
            operation: Operation::Chat,
            headers: headers(wanted.workspace, wanted.project),
            addressed: None,
            body: wanted.body(),
            form: None,
            received_us: now_us,
            received_unix_ms: unix_ms,
        };
        let headers = inbound.headers.clone();
        let call = decode(inbound, now_us).expect("a good request");
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let caller = identify(Arc::clone(&self.snapshot), &headers, peer, Needs::Inference, unix_ms);
        let caller = caller.expect("a good key");
        self.plan_repeat(&wanted, &named);
        if self.chance(8) == 0 {
            let at = now_us + self.chance(3_000_000);
            self.plan_event(at, Event::HangUp(number));
        }
        let fixture = self.fixture.clone();
        self.look(Arrived { number, trace, unix_ms, at_us: now_us, wanted, named, fixture }, (call, caller));
    }

    /// Admits and plans a request, with what it found of earlier answers if it looked for one.
    fn admit_and_plan(
        &mut self,
        arrived: &Arrived,
        (call, caller): (Call, Caller),
        found: Option<(Lookup, Found)>,
    ) {
        let (now_us, unix_ms, trace) = (self.now_us(), arrived.unix_ms, arrived.trace);
        let (wanted, fixture) = (&arrived.wanted, &arrived.fixture);
        let workspace = wanted.workspace;
        let journal = self.books.journal().expect("it runs");
        let admitted = match admit(call, caller, journal, &self.replica.core, now_us) {
            Ok(admitted) => admitted,
            Err(failed) => {
                assert_eq!(failed.fault.code, "storage_full");
                self.report.refused_by_disk += 1;
                return;
            }
        };
        self.report.exchanges += 1;
        self.report.next_month += u64::from(workspace == COMMITTED && committed::is_next_month(unix_ms));
        self.truth.opened((self.life, trace), workspace, fixture, &self.principals, now_us);
        let random = self.random.next_u64();
        let planned = match plan(admitted, &*self.board, random, now_us, unix_ms) {
            Ok(planned) => planned,
            Err(failed) => {
                self.report.not_planned += 1;
                let (_, _, mut tab) = failed.admitted.into_parts();
                tab.record_plan(failed.resolved_model, failed.record);
                return self.close(tab, Outcome::Failed, Some(&failed.fault), Usage::default(), false);
            }
        };
        let who = (workspace, &arrived.named, wanted.user);
        let resolution = &planned.record().resolution;
        let is_limited = fixture.policies[workspace].as_ref().is_some_and(|policy| !policy.models.is_empty());
        let model = self.truth.assigned.planned(&fixture.aliases, who, is_limited, resolution);
        self.report.aliased += u64::from(arrived.named == Named::Alias);
        self.report.pinned += u64::from(matches!(arrived.named, Named::Pinned { .. }));
        self.truth.resolved(trace, model);
        let going_on = match found {
            Some(found) => self.serve_again(arrived, planned, found),
            None => Some((planned, None)),
        };
        if let Some((planned, lead)) = going_on {
            self.begin((arrived.number, trace), unix_ms, wanted.stream, planned.into_parts(), lead);
        }
    }

    /// The first seat of a plan is asked.
    fn begin(
        &mut self,
        (number, trace): (u64, TraceId),
        unix_ms: u64,
        stream: bool,
        planned: PlannedParts,
        lead: Option<Lead>,
    ) {
        let now_us = self.now_us();
        let (_, _, mut tab) = planned.admitted.into_parts();
        let left = planned.record.rejected.first().and_then(|row| plan::left_on(&row.reason));
        if let Some(on) = left {
            self.report.planned_without_first += 1;
            self.truth.planned_without_first(trace, on, &planned.resolved_model);
        }
        tab.record_plan(Arc::clone(&planned.resolved_model), planned.record);
        let deadline_us = now_us + micros(planned.timeouts.deadline);
        let exchange = Exchange {
            number,
            trace,
            received_unix_ms: unix_ms,
            period_unix_ms: self.period(unix_ms),
            fallbacks: ModelFallbacks::of(planned.fallbacks, &planned.fallback_on),
            course: FailoverState::starting_at(planned.fallback_on, &planned.attempts),
            model: planned.resolved_model,
            attempts: planned.attempts,
            timeouts: planned.timeouts,
            deadline_us,
            stream,
            lead,
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
        let transient = ModelFallbackClass::Transient;
        let has_other = exchange.fallbacks.as_ref().is_some_and(|fallbacks| fallbacks.has(transient));
        let is_last = !has_other && exchange.course.is_last(&exchange.attempts);
        let key = exchange.attempt().seat_key();
        let standing = self.board.availability(&key, now_us);
        match self.board.claim(&key, TOKENS, is_last, now_us) {
            Ok(ticket) => {
                let must_wait =
                    matches!(standing, Availability::RetryAt { .. } | Availability::Parked { .. });
                assert!(!must_wait, "what is known to be refused is sent: {standing:?}");
                self.truth.asked(self.life, exchange.trace, exchange.attempt(), now_us);
                exchange.course.tried();
                let seat = exchange.course.index();
                self.draw(exchange, tab, Permit { seat, ticket, beside: None });
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
                    DenialAction::Left(class) => {
                        self.note_failure(&mut exchange, class);
                        self.onward(exchange, tab, class);
                    }
                }
            }
        }
    }

    /// Writes the intent of an attempt that may be made.
    fn intend(&mut self, mut exchange: Exchange, tab: Tab, permit: Permit) {
        let Permit { seat, ticket, beside } = permit;
        let future = intending(tab, exchange.intent_at(seat));
        match beside {
            None => {
                exchange.stage = Stage::Intending { future, ticket };
                self.poll_intent(exchange);
            }
            Some(first) => {
                exchange.stage = Stage::Hedging { future, ticket, seat, first };
                self.poll_hedge(exchange);
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
    fn send(&mut self, exchange: Exchange, tab: Tab, number: u32, ticket: Ticket) {
        let seat = exchange.course.index();
        let asked = self.asked(&exchange, (seat, number), ticket);
        self.wait_to_hedge(exchange, tab, asked);
    }

    /// An upstream sees the request.
    fn asked(&mut self, exchange: &Exchange, (seat, number): (usize, u32), ticket: Ticket) -> Asked {
        let (now_us, attempt) = (self.now_us(), &exchange.attempts[seat]);
        self.truth.sent(exchange, (seat, number), now_us);
        self.report.calls += 1;
        self.report.fallbacks += u64::from(attempt.is_fallback());
        let random = &self.random;
        let reply =
            self.upstream.reply(attempt.principal(), exchange.stream, now_us, &|bound| random.below(bound));
        let limit = micros(exchange.timeouts.first_byte).min(micros(self.time_left(exchange)));
        let after_us = match reply {
            Reply::Refused { after_us, .. }
            | Reply::Whole { after_us, .. }
            | Reply::Streamed { after_us, .. } => after_us,
            Reply::Silent => limit,
        };
        Asked { seat, number, ticket, sent_us: now_us, due_us: now_us + after_us.min(limit), reply }
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
            Stage::Asking { tab, asked, chunks: 0 } if self.now_us() < asked.due_us => {
                self.hedge(exchange, tab, asked);
            }
            Stage::Asking { tab, asked, chunks } => self.replied(exchange, tab, asked, chunks),
            Stage::Racing { tab, racers } => self.raced(exchange, tab, racers),
            Stage::Moving | Stage::Drawing { .. } | Stage::Intending { .. } | Stage::Hedging { .. } => {
                panic!("woken while it waits for nothing")
            }
        }
    }

    fn replied(&mut self, mut exchange: Exchange, mut tab: Tab, mut asked: Asked, chunks: u32) {
        let now_us = self.now_us();
        if chunks == 0 {
            match self.failure_of(&exchange, asked.reply) {
                Some(failure) if failure.class() == FaultClass::Deadline => {
                    let fault = &failure.fault;
                    return self.close(tab, Outcome::Deadline, Some(fault), Usage::default(), false);
                }
                Some(failure) => return self.missed(exchange, tab, asked, &failure),
                None => self.truth.calls(exchange.trace).answered(asked.number),
            }
        }
        let well = Verdict::Healthy { first_byte_us: now_us - asked.sent_us };
        let is_fallback = exchange.attempts[asked.seat].is_fallback();
        match asked.reply {
            Reply::Refused { .. } | Reply::Silent => panic!("no answer goes on"),
            Reply::Whole { usage, .. } => {
                asked.ticket.report(well, now_us);
                self.keep(&mut exchange, asked.seat, usage);
                self.close(tab, Outcome::Completed, None, usage, is_fallback);
            }
            Reply::Streamed { cut_after: Some(cut), .. } if cut == chunks => {
                // Content has been sent: only the error may follow.
                asked.ticket.report(Verdict::Unhealthy, now_us);
                let usage = partial(chunks);
                self.close(tab, Outcome::Failed, Some(&fault(FaultClass::StreamBroken)), usage, is_fallback);
            }
            Reply::Streamed { chunks: all, usage, .. } if chunks == all => {
                asked.ticket.report(well, now_us);
                self.keep(&mut exchange, asked.seat, usage);
                self.close(tab, Outcome::Completed, None, usage, is_fallback);
            }
            Reply::Streamed { gap_us, .. } => {
                let usage = partial(chunks + 1);
                // A journal without room takes no checkpoint, and has nothing to write of it in the next turn.
                if tab.checkpoint(usage, u64::from(chunks + 1) * 200) {
                    self.truth.checkpointed(exchange.trace, usage.output);
                }
                self.plan_turn();
                exchange.stage = Stage::Asking { tab, asked, chunks: chunks + 1 };
                self.wait(exchange, gap_us);
            }
        }
    }

    fn missed(&mut self, mut exchange: Exchange, mut tab: Tab, asked: Asked, failure: &AttemptFailure) {
        let (now_us, class) = (self.now_us(), failure.class());
        self.end_failed(&mut exchange, &mut tab, asked, failure);
        exchange.course.failed(&exchange.attempts, class);
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
            Step::GiveUp => self.leave_model(exchange, tab, class),
        }
    }

    /// Moves to the next seat that this failure allows, or ends the request.
    fn onward(&mut self, mut exchange: Exchange, tab: Tab, class: FaultClass) {
        self.truth.left(&exchange, class);
        if exchange.course.leave(&exchange.attempts, class) {
            self.ask_seat(exchange, tab);
        } else {
            self.leave_model(exchange, tab, class);
        }
    }

    fn hang_up(&mut self, number: u64) {
        drop(self.seeking.remove(&number));
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
            0 => self.drain(),
            1 => drop(self.books.prepare()),
            _ => {}
        }
        let is_waiting =
            |one: &Exchange| matches!(one.stage, Stage::Intending { .. } | Stage::Hedging { .. });
        let waiting = self.open.iter().filter(|(_, one)| is_waiting(one)).map(|(number, _)| *number);
        for number in waiting.collect::<Vec<_>>() {
            // If the disk died under the background work, no exchange continues.
            if self.books.disk.is_dead() {
                return;
            }
            match self.open.remove(&number) {
                Some(exchange) if matches!(exchange.stage, Stage::Hedging { .. }) => {
                    self.poll_hedge(exchange)
                }
                Some(exchange) => self.poll_intent(exchange),
                None => {}
            }
        }
    }

    /// Everything in memory is lost; what was written is recovered before the new process serves requests.
    fn die(&mut self) {
        self.report.deaths += 1;
        self.books.kill();
        self.truth.died();
        // A dead process releases nothing.
        self.answers.set_away(true);
        self.seeking.clear();
        self.open.clear();
        self.memory = Arc::default();
        self.is_turn_planned = false;
        self.books.revive();
        while let Err(error) = self.books.start() {
            assert!(self.books.disk.is_dead(), "{error}");
            self.books.revive();
        }
        self.life += 1;
        self.board = Cell::new(Shared::new(), 1);
        self.start_replica();
    }

    fn finish(mut self) -> Report {
        assert!(self.open.is_empty() && self.seeking.is_empty(), "an exchange waits for nothing");
        self.books.disk.fail_writes(None);
        while !self.rests() {
            // A planned death that took effect only now.
            assert!(self.books.disk.is_dead(), "a good disk refuses");
            self.die();
        }
        self.truth.written();
        self.settle_drained();
        self.truth.check(&self.books);
        self.check_commitments();
        (self.report.to_canary, self.report.to_first) =
            (self.truth.assigned.to_canary, self.truth.assigned.to_first);
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
        (
            record.trace,
            record.outcome,
            record.usage.output,
            record.drawn.len(),
            record.charge.cost,
            record.timeline.settled_us,
        )
            .hash(&mut hasher);
        for attempt in &record.attempts {
            (attempt.principal, attempt.fault, attempt.started_us, attempt.duration_us).hash(&mut hasher);
        }
    }
    hasher.finish()
}

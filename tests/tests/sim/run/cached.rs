//! The response cache in a run: who looks for an earlier answer, who waits for the one that is being made, and what is
//! kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use admit::Caller;
use decode::Call;
use domain::ports::AnswerStore;
use domain::{Dialect, Outcome, Principal, TraceId, Usage};
use execute::Served;
use ledger::Closing;
use ledger::simulation::now;
use line::{Found, Keeping, Lookup, Shelf, Wish, again};
use plan::Planned;
use world::Clock;

use super::{Event, Run};
use crate::exchange::Exchange;
use crate::fixture::{Fixture, RULES};
use crate::kept::{Key, Wanted, answer};

/// The look of a request for an earlier answer.
type Looking = Pin<Box<dyn Future<Output = (Lookup, Found)>>>;

/// A request that has come, with the configuration of that moment.
pub struct Arrived {
    pub number: u64,
    pub trace: TraceId,
    pub unix_ms: u64,
    pub at_us: u64,
    pub wanted: Wanted,
    pub named: crate::aliases::Named,
    pub fixture: Fixture,
}

impl Arrived {
    fn key(&self) -> Key {
        let at = self.wanted.workspace;
        (self.wanted.clone(), self.fixture.purges[at], format!("{:?}", self.fixture.policies[at]))
    }
}

/// A request that looks for an earlier answer, or waits for one that is being made.
pub struct Seeker {
    arrived: Arrived,
    request: (Call, Caller),
    future: Looking,
    has_waited: bool,
}

/// What is kept of an exchange that leads, once it has answered.
pub struct Lead {
    keeping: Box<Keeping>,
    key: Key,
    planned_unix_ms: u64,
}

impl Run {
    /// What a client asks for: few different things, so that some of it is the same.
    pub(super) fn pick_wanted(&self, workspace: usize, model: String) -> Wanted {
        let user = (self.chance(4) > 0).then(|| self.chance(crate::aliases::USERS));
        let project = usize::from(self.chance(3) == 0);
        Wanted { workspace, project, model, user, prompt: self.chance(2), stream: self.chance(2) == 0 }
    }

    /// The same client may ask for the same again, in a moment or later.
    pub(super) fn plan_repeat(&mut self, wanted: &Wanted, named: &crate::aliases::Named) {
        if self.fixture.keeps[wanted.workspace] && self.chance(3) == 0 {
            let most_us = if self.chance(2) == 0 { 500_000 } else { 20_000_000 };
            let at = self.now_us() + self.chance(most_us);
            let number = self.next_number;
            self.next_number += 1;
            self.repeats.insert(number, (wanted.clone(), named.clone()));
            self.plan_event(at, Event::Arrive(number));
        }
    }

    /// Looks for an earlier answer, if the project keeps them; otherwise the request goes on.
    pub(super) fn look(&mut self, arrived: Arrived, request: (Call, Caller)) {
        let (call, caller) = &request;
        let wish = Wish::of(&headers_of(&arrived));
        let (memory, store) = (Arc::clone(&self.memory), self.answer_store());
        let clock = Arc::clone(&self.books.clock);
        let keeps = line::keeps_answers(caller);
        let lookup = keeps.then(|| Lookup::of(&memory, wish, (call, None), caller)).flatten();
        assert_eq!(lookup.is_some(), arrived.fixture.keeps[arrived.wanted.workspace], "who keeps answers");
        let Some(lookup) = lookup else { return self.admit_and_plan(&arrived, request, None) };
        let future = Box::pin(async move {
            let now_unix_ms = || clock.unix_ms();
            let shelf = Shelf { memory: &memory, store: &store, now_unix_ms: &now_unix_ms };
            let found = lookup.find(&shelf).await;
            (lookup, found)
        });
        self.seek(Seeker { arrived, request, future, has_waited: false });
    }

    fn answer_store(&self) -> Arc<dyn AnswerStore> {
        Arc::<crate::kept::SimulatedAnswers>::clone(&self.answers)
    }

    fn seek(&mut self, mut seeker: Seeker) {
        let polled = {
            let _entered = self.timers.enter();
            now(seeker.future.as_mut())
        };
        match polled {
            None => {
                seeker.has_waited = true;
                self.seeking.insert(seeker.arrived.number, seeker);
            }
            Some((lookup, found)) => {
                self.report.cache_waits += u64::from(seeker.has_waited);
                self.admit_and_plan(&seeker.arrived, seeker.request, Some((lookup, found)));
            }
        }
    }

    /// Whoever waits for an answer looks again once the one that leads has ended.
    pub(super) fn seek_again(&mut self) {
        for number in self.seeking.keys().copied().collect::<Vec<_>>() {
            if self.books.disk.is_dead() {
                return;
            }
            if let Some(seeker) = self.seeking.remove(&number) {
                self.seek(seeker);
            }
        }
    }

    /// A plan is there: an earlier answer is given, if the plan has who made it; otherwise the request goes upstream, and
    /// leads if nobody else does.
    pub(super) fn serve_again(
        &mut self,
        arrived: &Arrived,
        planned: Planned,
        (lookup, found): (Lookup, Found),
    ) -> Option<(Planned, Option<Lead>)> {
        let (key, trace, now_unix_ms) = (arrived.key(), arrived.trace, self.books.clock.unix_ms());
        let found = match found {
            Found::Entry(entry) => match entry.maker(&planned).map(|maker| entry.worth(maker)) {
                Some(worth) => {
                    let mut response = again(planned, &entry, worth, (self.now_us(), now_unix_ms));
                    let body = response.take_whole().expect("it is whole");
                    let lifetime_ms = u64::from(arrived.fixture.keeps_s) * 1_000;
                    let fixture = &arrived.fixture;
                    let workspace = arrived.wanted.workspace;
                    let may_ask = |who: Principal, model: &str| fixture.may_ask(workspace, who, model);
                    let survived =
                        self.truth.kept.again(&key, trace, &body, (lifetime_ms, now_unix_ms), may_ask);
                    self.report.cache_survived += u64::from(survived);
                    self.truth.closed(trace, Outcome::Completed, Usage::default());
                    self.report.cache_hits += 1;
                    let end = response.conclude().expect("it ends once");
                    end.tab.close(Closing {
                        outcome: end.outcome,
                        status: end.status,
                        fault: end.fault.as_deref(),
                        usage: end.usage,
                        bytes_out: end.bytes_out,
                        fallback_used: end.fallback_used,
                    });
                    self.plan_turn();
                    return None;
                }
                None => {
                    self.report.cache_refreshes += 1;
                    let store = self.answer_store();
                    let clock = Arc::clone(&self.books.clock);
                    let now_unix_ms = || clock.unix_ms();
                    let shelf = Shelf { memory: &self.memory, store: &store, now_unix_ms: &now_unix_ms };
                    match now(lookup.refresh(&shelf)).expect("it waits for nobody") {
                        // Somebody else has begun meanwhile.
                        Found::Entry(_) | Found::Nothing => return Some((planned, None)),
                        lead @ Found::Lead(..) => lead,
                    }
                }
            },
            found => found,
        };
        let Found::Lead(lead, claim) = found else {
            self.report.cache_passes += 1;
            let waited_us = self.now_us() - arrived.at_us;
            self.truth.kept.passes(&key, trace, waited_us);
            return Some((planned, None));
        };
        self.report.cache_leads += 1;
        self.truth.kept.leads(key.clone(), trace);
        let grammar = Some(Dialect::Chat.grammar());
        let keeping = Box::new(Keeping::of((lead, claim), trace, now_unix_ms, grammar));
        Some((planned, Some(Lead { keeping, key, planned_unix_ms: now_unix_ms })))
    }

    /// An upstream has answered an exchange that leads: the answer is kept.
    pub(super) fn keep(&mut self, exchange: &mut Exchange, seat: usize, usage: Usage) {
        let Some(Lead { keeping, key, planned_unix_ms }) = exchange.lead.take() else { return };
        let attempt = &exchange.attempts[seat];
        let served = Served {
            profile: attempt.profile(),
            principal: attempt.principal(),
            provider: Arc::clone(attempt.provider_shared()),
            resolved_model: Arc::clone(&exchange.model),
            upstream_model: Arc::clone(attempt.upstream_model_shared()),
            region: None,
            attempts: exchange.course.tries(),
            fallback_used: attempt.is_fallback(),
            fallback_reason: None,
            overflow: attempt.overflow(),
            is_emergency: attempt.is_emergency(),
            discount_pct: None,
        };
        let is_cut = self.chance(6) == 0;
        let body = answer(exchange.trace, exchange.stream, is_cut);
        let by = (attempt.principal(), &*exchange.model, usage);
        // An answer is as old as its plan.
        self.truth.kept.made(key, exchange.trace, by, is_cut, planned_unix_ms);
        keeping.served_by(served).ended(body, Some(usage));
    }
}

fn headers_of(arrived: &Arrived) -> http::HeaderMap {
    crate::fixture::headers(arrived.wanted.workspace, arrived.wanted.project)
}

/// The workspaces that keep answers, by chance.
pub(super) fn keepers(chance: impl Fn(u64) -> u64) -> [bool; RULES.len()] {
    RULES.map(|_| chance(2) == 0)
}

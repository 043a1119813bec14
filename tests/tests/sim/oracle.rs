//! The ground truth, recorded outside the simulated process, and the invariants that must follow from it.

use std::collections::{BTreeMap, HashMap};

use domain::limits::{ATTEMPTS_MAX, RETRY_BUDGET_FREE_PER_S, RETRY_BUDGET_PERCENT, TRIES_PER_PRINCIPAL_MAX};
use domain::{FallbackClass, FaultClass, MeterRecord, Outcome, Principal, TraceId, Usage};
use execute::schedule::may_fall_back;
use ledger::simulation::SimulatedBooks;
use ledger::verify::recompute;
use snapshot::CredentialState;

use crate::exchange::Exchange;
use crate::fixture::{Fixture, RULES, Rule};

/// Retry times from one principal that are no further apart than this count as one: in a storm each refusal
/// names a new one.
const NAMED_ALIKE_US: u64 = 50_000;
/// Another principal must be tried this soon in place of a limited one.
const NEXT_WITHIN_US: u64 = 50_000;

/// What upstreams and clients saw of one exchange.
struct Observed {
    rule: Rule,
    /// The workspace's own credentials that were live when the exchange was planned.
    own_live: Vec<Principal>,
    fallback_on: Vec<FallbackClass>,
    /// Attempt number and principal of each request that reached an upstream.
    calls: Vec<(u32, Principal)>,
    /// When it was refused for a limit, unless it has waited since.
    limited_us: Option<u64>,
    /// Why the last of the workspace's own seats was left.
    own_left_for: Option<FaultClass>,
    closed: Option<(Outcome, Usage)>,
    /// Whether the closing was written before the process died.
    is_settled: bool,
}

#[derive(Default)]
struct Budget {
    from_us: u64,
    first: u64,
    retries: u64,
}

#[derive(Default)]
pub struct Truth {
    exchanges: BTreeMap<TraceId, Observed>,
    /// By process life and upstream: a new process starts with a new budget.
    budgets: BTreeMap<(u32, String), Budget>,
    /// By process life and principal: the latest retry time that the principal named.
    named: HashMap<(u32, Principal), u64>,
    unwritten: Vec<TraceId>,
}

impl Truth {
    pub fn opened(&mut self, trace: TraceId, workspace: usize, fixture: &Fixture, principals: &[Principal]) {
        let own = 2 * workspace..2 * workspace + 2;
        let own_live = own
            .filter(|at| fixture.credential_states.get(*at) == Some(&CredentialState::Active))
            .map(|at| principals[at])
            .collect();
        let observed = Observed {
            rule: RULES[workspace],
            own_live,
            fallback_on: fixture.fallback_on.clone(),
            calls: Vec::new(),
            limited_us: None,
            own_left_for: None,
            closed: None,
            is_settled: false,
        };
        assert!(self.exchanges.insert(trace, observed).is_none(), "two exchanges with one id");
    }

    /// A request is about to go to a principal: never before the retry time that it named.
    pub fn asked(&mut self, life: u32, trace: TraceId, principal: Principal, now_us: u64) {
        let named_us = self.named.get(&(life, principal)).copied().unwrap_or_default();
        assert!(now_us + NAMED_ALIKE_US >= named_us, "{principal} is asked at {now_us} and named {named_us}");
        let observed = self.exchanges.get_mut(&trace).expect("it was opened");
        if let Some(limited_us) = observed.limited_us.take() {
            assert!(now_us <= limited_us + NEXT_WITHIN_US, "{trace} waits while another may be asked");
        }
    }

    /// A principal refuses for a limit, and may name a retry time.
    pub fn limited(
        &mut self,
        life: u32,
        trace: TraceId,
        principal: Principal,
        named_us: Option<u64>,
        now_us: u64,
    ) {
        if let Some(named_us) = named_us {
            let latest = self.named.entry((life, principal)).or_default();
            *latest = named_us.max(*latest);
        }
        self.exchanges.get_mut(&trace).expect("it was opened").limited_us = Some(now_us);
    }

    /// An exchange waits for a principal that no other can replace, or that may be available in a moment.
    pub fn waits(&mut self, trace: TraceId) {
        self.exchanges.get_mut(&trace).expect("it was opened").limited_us = None;
    }

    /// How many exchanges reached an upstream, and in how many calls.
    pub fn traffic(&self) -> (u64, u64) {
        let calls = self.exchanges.values().map(|observed| observed.calls.len()).filter(|calls| *calls > 0);
        calls
            .fold((0, 0), |(exchanges, all), calls| (exchanges + 1, all + u64::try_from(calls).expect("few")))
    }

    /// A request leaves. Whatever forbids the call must hold before it.
    pub fn sent(&mut self, exchange: &Exchange, number: u32) {
        let principal = exchange.attempt().principal();
        let observed = self.exchanges.get_mut(&exchange.trace).expect("it was opened");
        match principal {
            Principal::Credential(_) | Principal::Subscription(_) => {
                assert!(
                    observed.own_live.contains(&principal),
                    "a call on a credential that is not its own or not live"
                );
            }
            Principal::Node(_) => assert_eq!(observed.rule, Rule::Nodes),
            Principal::Account(_) => may_use_the_pool(observed, exchange.attempt().is_fallback()),
        }
        let course = &exchange.course;
        assert!(course.tries() <= ATTEMPTS_MAX && course.tries_on_seat() <= TRIES_PER_PRINCIPAL_MAX);
        observed.calls.push((number, principal));
    }

    /// A seat was left, with or without a call. Moving from one pooled account to the next does not count as
    /// leaving.
    pub fn left(&mut self, exchange: &Exchange, class: FaultClass) {
        if !is_account(exchange.attempt().principal()) {
            self.exchanges.get_mut(&exchange.trace).expect("it was opened").own_left_for = Some(class);
        }
    }

    pub fn first_try(&mut self, life: u32, upstream: &str, now_us: u64) {
        let fresh = Budget { from_us: now_us, ..Budget::default() };
        self.budgets.entry((life, upstream.to_owned())).or_insert(fresh).first += 1;
    }

    pub fn retry(&mut self, life: u32, upstream: &str, now_us: u64) {
        let budget = self.budgets.get_mut(&(life, upstream.to_owned())).expect("a first try came before");
        budget.retries += 1;
        let free = u64::from(RETRY_BUDGET_FREE_PER_S);
        let seconds = (now_us - budget.from_us).div_ceil(1_000_000);
        let allowed = budget.first * u64::from(RETRY_BUDGET_PERCENT) / 100 + free * (seconds + 1) + 1;
        assert!(budget.retries <= allowed, "{} retries to {upstream}, {allowed} allowed", budget.retries);
    }

    pub fn closed(&mut self, trace: TraceId, outcome: Outcome, usage: Usage) {
        let observed = self.exchanges.get_mut(&trace).expect("it was opened");
        assert!(observed.closed.replace((outcome, usage)).is_none(), "{trace} was closed twice");
        self.unwritten.push(trace);
    }

    /// Everything that was closed is now written.
    pub fn written(&mut self) {
        for trace in std::mem::take(&mut self.unwritten) {
            self.exchanges.get_mut(&trace).expect("it was opened").is_settled = true;
        }
    }

    /// The process died: what it had not written never happened.
    pub fn died(&mut self) {
        self.unwritten.clear();
    }

    /// The checks once nothing is in flight any more.
    pub fn check(&self, books: &SimulatedBooks) {
        let journal = books.journal().expect("it runs");
        assert_eq!((journal.open_tabs(), journal.reserved_bytes()), (0, 0), "open or reserved while idle");
        assert!(self.unwritten.is_empty());
        assert_eq!(books.sink.ignored_count(), 0, "something was applied twice");
        let records = books.sink.records();
        assert_eq!(recompute(&records).mismatch_count, 0, "a charge does not follow from its record");
        let by_trace: BTreeMap<TraceId, &MeterRecord> =
            records.iter().map(|record| (record.trace, record)).collect();
        assert_eq!(by_trace.len(), records.len(), "two records of one exchange");
        for trace in by_trace.keys() {
            assert!(self.exchanges.contains_key(trace), "a record of what never was: {trace}");
        }
        for (trace, observed) in &self.exchanges {
            check_one(*trace, observed, by_trace.get(trace).copied());
        }
    }
}

/// The tenant boundary: a workspace reaches the pool only without live credentials of its own, or if its
/// route says so.
fn may_use_the_pool(observed: &Observed, is_fallback: bool) {
    if observed.own_live.is_empty() {
        assert_ne!(observed.rule, Rule::Nodes, "a node's model went to the pool");
        assert!(!is_fallback, "a fallback with nothing to fall back from");
        return;
    }
    match observed.rule {
        Rule::FallsBack => {
            assert!(is_fallback, "a call that left its own credentials must be marked");
            if let Some(class) = observed.own_left_for {
                assert!(may_fall_back(class, &observed.fallback_on), "the pool was asked after {class:?}");
            }
        }
        // Overflow is for lack of capacity: no other failure of an own credential leads to the pool.
        Rule::Overflows => {
            assert!(!is_fallback, "what exceeds the own capacity is no fallback");
            let left_for = observed.own_left_for.unwrap_or(FaultClass::RateLimit);
            assert_eq!(left_for, FaultClass::RateLimit, "the pool was asked after a failure");
        }
        Rule::Strict | Rule::Pool | Rule::Nodes => panic!("a strict call went to the pool"),
    }
}

fn is_account(principal: Principal) -> bool {
    matches!(principal, Principal::Account(_))
}

fn check_one(trace: TraceId, observed: &Observed, record: Option<&MeterRecord>) {
    let Some(record) = record else {
        assert!(!observed.is_settled && observed.calls.is_empty(), "{trace} is lost: {:?}", observed.calls);
        return;
    };
    for (number, principal) in &observed.calls {
        let attempt = record.attempts.iter().find(|attempt| attempt.number == *number);
        let row = attempt.map(|attempt| attempt.principal);
        assert_eq!(row, Some(*principal), "{trace}: call {number} is not in the books");
    }
    let is_called = |number: u32| observed.calls.iter().any(|(called, _)| *called == number);
    let uncalled = record.attempts.iter().filter(|attempt| !is_called(attempt.number)).count();
    // A client that hangs up, or a process that dies, may do so between an intent and its call, and a full
    // disk may refuse an intent: once, as the last attempt.
    let is_cut = matches!(record.outcome, Outcome::Interrupted | Outcome::ClientCancelled)
        || record.fault_code.as_deref() == Some("storage_full");
    assert!(
        uncalled <= usize::from(is_cut) && record.attempts.len() == observed.calls.len() + uncalled,
        "{trace}: {:?} in the books, called were {:?}",
        record.attempts,
        observed.calls
    );
    match (observed.is_settled, observed.closed) {
        (true, Some((outcome, usage))) => {
            assert_eq!(record.outcome, outcome, "{trace}");
            if outcome == Outcome::Completed {
                assert_eq!(record.usage, usage, "{trace}");
            }
        }
        // The process died before the closing was written; a part of the last write may still have reached
        // the disk.
        (_, closed) => {
            let own = closed.is_some_and(|(outcome, _)| outcome == record.outcome);
            assert!(own || record.outcome == Outcome::Interrupted, "{trace}: {:?}", record.outcome);
        }
    }
}

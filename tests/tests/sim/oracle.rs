//! The ground truth, recorded outside the simulated process, and the invariants that must follow from it.

use std::collections::{BTreeMap, HashMap};

use domain::limits::{ATTEMPTS_MAX, RETRY_BUDGET_FREE_PER_S, RETRY_BUDGET_PERCENT, TRIES_PER_PRINCIPAL_MAX};
use domain::{
    BudgetId, FallbackClass, FaultClass, MeterRecord, ModelFallbackClass, Outcome, OverflowReason,
    PolicySpec, Principal, TraceId, Usage,
};
use execute::schedule::may_fall_back;
use ledger::simulation::SimulatedBooks;
use ledger::verify::recompute;
use plan::Attempt;
use snapshot::CredentialState;

use crate::aliases::Assigned;
use crate::calls::Calls;
use crate::commitments::Share;
use crate::exchange::Exchange;
use crate::fills::{Fills, check_drawn};
use crate::fixture::{Fixture, RULES, Rule, small};
use crate::kept::Kept;
use crate::models::Models;
use crate::policies::allows;

/// Retry times from one principal that are no further apart than this count as one: in a storm each refusal
/// names a new one.
const NAMED_ALIKE_US: u64 = 50_000;
/// Another principal must be tried this soon in place of a limited one.
const NEXT_WITHIN_US: u64 = 50_000;
/// For this long a commitment that was found used up need not be looked at again.
const USED_UP_FOR_US: u64 = 5_000_000;

/// What upstreams and clients saw of one exchange.
struct Observed {
    rule: Rule,
    policy: Option<PolicySpec>,
    /// The workspace's own credentials that were live when the exchange was planned.
    own_live: Vec<Principal>,
    fallback_on: Vec<FallbackClass>,
    /// Each request that reached an upstream.
    calls: Calls,
    models: Models,
    hedge_after_us: Option<u64>,
    /// Why the model before the current one was left, until a seat of the workspace's own is left for another reason.
    left_model_for: Vec<FaultClass>,
    /// When it was refused for a limit, unless it has waited since.
    limited_us: Option<u64>,
    /// Why the last of the workspace's own seats was left.
    own_left_for: Option<FaultClass>,
    /// The commitment of that seat was found used up instead.
    has_spilled: bool,
    /// When it was planned, one of its own commitments had just been found used up.
    knew_used_up: bool,
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
    /// By process life, principal and upstream model: the latest retry time that the principal named.
    named: HashMap<(u32, Principal, String), u64>,
    /// By process life and credential: when its commitment was last found used up.
    used_up: HashMap<(u32, Principal), u64>,
    pub fills: Fills,
    pub assigned: Assigned,
    pub kept: Kept,
    unwritten: Vec<TraceId>,
    /// The output of an answer so far, as checkpoints have it that are not on the disk yet.
    unwritten_output: Vec<(TraceId, u64)>,
}

impl Truth {
    pub fn opened(
        &mut self,
        (life, trace): (u32, TraceId),
        workspace: usize,
        fixture: &Fixture,
        principals: &[Principal],
        now_us: u64,
    ) {
        let own = 2 * workspace..2 * workspace + 2;
        let own_live: Vec<Principal> = own
            .filter(|at| fixture.credential_states.get(*at) == Some(&CredentialState::Active))
            .map(|at| principals[at])
            .collect();
        let is_used_up = |own: &Principal| {
            let found_us = self.used_up.get(&(life, *own));
            found_us.is_some_and(|found_us| now_us <= found_us + USED_UP_FOR_US)
        };
        let knew_used_up = own_live.iter().any(is_used_up);
        let observed = Observed {
            rule: RULES[workspace],
            policy: fixture.policies[workspace].clone(),
            own_live,
            fallback_on: fixture.fallback_on.clone(),
            calls: Calls::default(),
            models: Models::new(fixture.model_fallbacks.clone()),
            hedge_after_us: fixture.hedge_after_ms.map(|ms| ms * 1_000),
            left_model_for: Vec::new(),
            limited_us: None,
            own_left_for: None,
            has_spilled: false,
            knew_used_up,
            closed: None,
            is_settled: false,
        };
        assert!(self.exchanges.insert(trace, observed).is_none(), "two exchanges with one id");
    }

    /// A request was planned: the model that its name means, and those that its alias lists behind it.
    pub fn resolved(&mut self, trace: TraceId, (model, later): (String, Vec<&str>)) {
        self.observed(trace).models.resolved(model, &later);
    }

    /// A request is about to go to a principal: never before the retry time that it named.
    pub fn asked(&mut self, life: u32, trace: TraceId, attempt: &Attempt, now_us: u64) {
        let principal = attempt.principal();
        let seat = (life, principal, attempt.upstream_model().to_owned());
        let named_us = self.named.get(&seat).copied().unwrap_or_default();
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
        attempt: &Attempt,
        named_us: Option<u64>,
        now_us: u64,
    ) {
        if let Some(named_us) = named_us {
            let seat = (life, attempt.principal(), attempt.upstream_model().to_owned());
            let latest = self.named.entry(seat).or_default();
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
        let calls = self.exchanges.values().map(|observed| small(observed.calls.len()));
        calls.filter(|calls| *calls > 0).fold((0, 0), |(exchanges, all), calls| (exchanges + 1, all + calls))
    }

    /// How often an exchange went on with another model, whose first call is no retry.
    pub fn models_left(&self) -> u64 {
        self.exchanges.values().map(|observed| u64::from(observed.models.changes())).sum()
    }

    /// A request leaves. Whatever forbids the call must hold before it.
    pub fn sent(&mut self, exchange: &Exchange, (seat, number): (usize, u32), now_us: u64) {
        let attempt = &exchange.attempts[seat];
        let principal = attempt.principal();
        let observed = self.exchanges.get_mut(&exchange.trace).expect("it was opened");
        match principal {
            Principal::Credential(_) | Principal::Subscription(_) => {
                assert!(
                    observed.own_live.contains(&principal),
                    "a credential that is not its own or not live"
                );
            }
            Principal::Node(_) => assert_eq!(observed.rule, Rule::Nodes),
            Principal::Account(_) => {
                may_use_the_pool(observed, attempt.is_fallback(), attempt.overflow());
            }
        }
        let course = &exchange.course;
        // Once they are used up, each other model is asked once.
        let tries_max = ATTEMPTS_MAX + observed.models.changes();
        assert!(course.tries() <= tries_max && course.tries_on_seat() <= TRIES_PER_PRINCIPAL_MAX);
        observed.models.sent(attempt.upstream_model());
        let model = observed.models.current();
        let is_forbidden = observed.policy.as_ref().is_some_and(|policy| !allows(policy, principal, model));
        assert!(!is_forbidden, "{model} is asked of {principal}: {:?}", observed.policy);
        let hedge_after_us = observed.hedge_after_us.filter(|_| seat != exchange.course.index());
        observed.calls.sent(number, attempt, hedge_after_us, now_us);
    }

    fn observed(&mut self, trace: TraceId) -> &mut Observed {
        self.exchanges.get_mut(&trace).expect("it was opened")
    }

    /// The calls of an exchange.
    pub fn calls(&mut self, trace: TraceId) -> &mut Calls {
        &mut self.observed(trace).calls
    }

    /// A seat of the current model failed, or could not be called.
    pub fn failed_at_model(&mut self, trace: TraceId, class: FaultClass) {
        self.observed(trace).models.failed(class);
    }

    /// The plan begins with another model, since nothing that serves the first can be asked now.
    pub fn planned_without_first(&mut self, trace: TraceId, on: ModelFallbackClass, to: &str) {
        let observed = self.observed(trace);
        assert_eq!(on, ModelFallbackClass::Transient, "{trace}: nothing was asked yet");
        observed.models.failed(FaultClass::Overloaded);
        observed.models.left(on, to);
        observed.left_model_for = vec![FaultClass::Overloaded, FaultClass::RateLimit];
    }

    /// An exchange goes on with another model.
    pub fn left_model(&mut self, trace: TraceId, (on, class): (ModelFallbackClass, FaultClass), to: &str) {
        let observed = self.observed(trace);
        observed.models.left(on, to);
        (observed.own_left_for, observed.left_model_for) = (None, vec![class]);
        observed.limited_us = None;
    }

    /// What is known of a streamed answer's output, as the journal has taken it: not yet on the disk.
    pub fn checkpointed(&mut self, trace: TraceId, output: u64) {
        self.unwritten_output.push((trace, output));
    }

    /// A seat was left, with or without a call. Moving from one pooled account to the next does not count as
    /// leaving.
    pub fn left(&mut self, exchange: &Exchange, class: FaultClass) {
        if !is_account(exchange.attempt().principal()) {
            let observed = self.exchanges.get_mut(&exchange.trace).expect("it was opened");
            (observed.own_left_for, observed.has_spilled) = (Some(class), false);
            observed.left_model_for.clear();
        }
    }

    /// An attempt found the commitment of its credential used up.
    pub fn found_used_up(
        &mut self,
        life: u32,
        principal: Principal,
        share: Share,
        waited: bool,
        now_us: u64,
    ) {
        self.used_up.insert((life, principal), now_us);
        self.fills.found_used_up(share, waited);
    }

    /// A seat was left since its commitment is used up, which is no failure.
    pub fn spilled(&mut self, trace: TraceId) {
        let observed = self.exchanges.get_mut(&trace).expect("it was opened");
        (observed.own_left_for, observed.has_spilled) = (None, true);
    }

    pub fn first_try(&mut self, life: u32, upstream: &str, now_us: u64) {
        let fresh = Budget { from_us: now_us, ..Budget::default() };
        self.budgets.entry((life, upstream.to_owned())).or_insert(fresh).first += 1;
    }

    pub fn retry(&mut self, life: u32, upstream: &str, now_us: u64) {
        // A hedge is a retry, too, and may be the first call to its upstream.
        let fresh = Budget { from_us: now_us, ..Budget::default() };
        let budget = self.budgets.entry((life, upstream.to_owned())).or_insert(fresh);
        budget.retries += 1;
        let free = u64::from(RETRY_BUDGET_FREE_PER_S);
        let seconds = (now_us - budget.from_us).div_ceil(1_000_000);
        let allowed = budget.first * u64::from(RETRY_BUDGET_PERCENT) / 100 + free * (seconds + 1) + 1;
        assert!(budget.retries <= allowed, "{} retries to {upstream}, {allowed} allowed", budget.retries);
    }

    pub fn closed(&mut self, trace: TraceId, outcome: Outcome, usage: Usage) {
        let observed = self.exchanges.get_mut(&trace).expect("it was opened");
        assert!(observed.closed.replace((outcome, usage)).is_none(), "{trace} was closed twice");
        self.fills.closed(trace);
        self.kept.ended(trace);
        self.unwritten.push(trace);
    }

    /// Everything that was closed is now written.
    pub fn written(&mut self) {
        for trace in std::mem::take(&mut self.unwritten) {
            self.exchanges.get_mut(&trace).expect("it was opened").is_settled = true;
        }
        for (trace, output) in std::mem::take(&mut self.unwritten_output) {
            self.observed(trace).calls.written(output);
        }
    }

    /// The process died: what it had not written never happened.
    pub fn died(&mut self) {
        self.fills.died();
        self.kept.died();
        self.unwritten.clear();
        self.unwritten_output.clear();
    }

    /// Checks each commitment against the records, and returns what is to be spent of each.
    pub fn check_commitments(
        &self,
        books: &SimulatedBooks,
        limits: &BTreeMap<BudgetId, i64>,
    ) -> BTreeMap<Share, i64> {
        let records = books.sink.records();
        let mut drawn: BTreeMap<(TraceId, Share), i64> = BTreeMap::new();
        for record in &records {
            check_drawn(record, limits.keys());
            for one in &record.drawn {
                *drawn.entry((record.trace, (one.budget, one.period_unix_ms))).or_default() += one.amount.0;
            }
        }
        let is_lost = |trace| self.exchanges.get(&trace).is_some_and(|observed| !observed.is_settled);
        let cost = |trace, share| drawn.get(&(trace, share)).copied().unwrap_or_default();
        self.fills.check(|(budget, _)| limits[&budget], cost, is_lost);
        let mut spent = self.fills.spent_beside();
        for ((_, share), amount) in drawn {
            *spent.entry(share).or_default() += amount;
        }
        spent.retain(|_, amount| *amount != 0);
        spent
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
            let record = by_trace.get(trace).copied();
            check_one(*trace, observed, record);
            record.into_iter().for_each(|record| self.kept.check(record));
        }
    }
}

/// The tenant boundary: a workspace reaches the pool only without live credentials of its own, or if its
/// route says so.
fn may_use_the_pool(observed: &Observed, is_fallback: bool, overflow: Option<OverflowReason>) {
    if observed.own_live.is_empty() {
        assert_ne!(observed.rule, Rule::Nodes, "a node's model went to the pool");
        assert!(!is_fallback, "a fallback with nothing to fall back from");
        return;
    }
    match observed.rule {
        Rule::FallsBack => {
            assert!(is_fallback, "a call that left its own credentials must be marked");
            // After another model was chosen for it, the route's own list is all that counts.
            let may = |class: &FaultClass| {
                FallbackClass::of(*class).is_some_and(|class| observed.fallback_on.contains(&class))
            };
            let left_for = &observed.left_model_for;
            assert!(
                left_for.is_empty() || observed.fallback_on.is_empty() || left_for.iter().any(may),
                "the pool's model was asked after {left_for:?}"
            );
            if let Some(class) = observed.own_left_for {
                assert!(may_fall_back(class, &observed.fallback_on), "the pool was asked after {class:?}");
            }
        }
        // Overflow is for lack of capacity: no other failure of an own credential leads to the pool.
        Rule::Overflows => {
            assert!(!is_fallback, "what exceeds the own capacity isn't a fallback");
            let left_for = observed.own_left_for.unwrap_or(FaultClass::RateLimit);
            assert_eq!(left_for, FaultClass::RateLimit, "the pool was asked after a failure");
        }
        // The same, and for a commitment that is used up. Its owner stated what it has, so that an exceeded
        // quota is lack of capacity, too.
        Rule::Committed => {
            assert!(!is_fallback, "what exceeds a commitment isn't a fallback");
            if overflow == Some(OverflowReason::CommittedExhausted) {
                assert!(observed.has_spilled || observed.knew_used_up, "no commitment was found used up");
            }
            let left_for = observed.own_left_for.unwrap_or(FaultClass::RateLimit);
            let lacks = matches!(left_for, FaultClass::RateLimit | FaultClass::UpstreamQuota);
            assert!(lacks, "the pool was asked after a failure: {left_for:?}");
        }
        Rule::Strict | Rule::Pool | Rule::Nodes => panic!("a strict call went to the pool"),
    }
}

fn is_account(principal: Principal) -> bool {
    matches!(principal, Principal::Account(_))
}

fn check_one(trace: TraceId, observed: &Observed, record: Option<&MeterRecord>) {
    let Some(record) = record else {
        assert!(!observed.is_settled && observed.calls.is_empty(), "{trace} is lost");
        return;
    };
    observed.calls.check(record, observed.is_settled);
    if observed.is_settled && !observed.calls.is_empty() {
        observed.models.check(record);
    }
    let uncalled = record.attempts.iter().filter(|attempt| !observed.calls.has(attempt.number)).count();
    // A full disk may refuse a hedge, and the first call goes on; a process that dies forgets the refusal.
    let refused = uncalled.min(observed.calls.refused());
    let uncalled = uncalled - refused;
    // A client that hangs up, or a process that dies, may do so between an intent and its call, and a full
    // disk may refuse an intent: once, as the last attempt.
    let is_cut = matches!(record.outcome, Outcome::Interrupted | Outcome::ClientCancelled)
        || record.fault_code.as_deref() == Some("storage_full");
    assert!(
        uncalled <= usize::from(is_cut) && record.attempts.len() == observed.calls.len() + refused + uncalled,
        "{trace}: {:?} in the books, called were {}",
        record.attempts,
        observed.calls.len()
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

//! The plan of an admitted call: what `execute` works through, and what is stored with its record.

use std::sync::Arc;
use std::time::Duration;

use admit::{Admitted, Caller};
use board::AvailabilityView;
use domain::limits::RECORD_PLAN_ROWS_MAX;
use domain::record::{PlanRecord, Rejected};
use domain::semantic::SemanticSearch;
use domain::{FallbackClass, Fault, Hints, Priority, Profile, RouteSpec, Strategy, limits};

use crate::attempt::{Attempt, Seat};
use crate::broker::{Decision, UNROUTED};
use crate::capabilities::NOT_SUPPORTED;
use crate::choice::{
    CallQuery, Choice, Moment, affinity, choose_for_call, input_of, keepers, prefix_ends, traits_of,
};
use crate::fallbacks::PlannedFallback;
use crate::placing;
use crate::prompt_view::PromptView;
use crate::reason::{Refusal, Rejection};

/// Begins the reason of what the record shows of nodes that were left; the class follows.
const NODE_LEFT: &str = "node_left_";
/// The reason of the row that says how the nodes of a plan compared.
const PLACED: &str = "placed";

/// The timeouts of a call, from its route and within our own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub head_wait: Duration,
    pub first_byte: Duration,
    pub idle: Duration,
    pub deadline: Duration,
    /// After which silence a second attempt is made beside the first; `None`: never.
    pub hedge_after: Option<Duration>,
}

impl Timeouts {
    fn of(spec: &RouteSpec) -> Self {
        let deadline = bounded(spec.deadline_ms, limits::DEADLINE, limits::DEADLINE);
        Self {
            head_wait: bounded(spec.head_wait_ms, limits::HEAD_WAIT, deadline),
            first_byte: bounded(spec.first_byte_timeout_ms, limits::FIRST_BYTE_TIME_MAX, deadline),
            idle: bounded(spec.idle_timeout_ms, limits::IDLE_TIME_MAX, deadline),
            deadline,
            hedge_after: spec.hedge_after_ms.map(Duration::from_millis),
        }
    }

    /// With the deadline that the client states, if that is sooner. Its head waits as long as the answer may take to begin:
    /// until then nobody knows whether the target is met.
    fn within_hints(mut self, hints: Option<&Hints>) -> Self {
        let Some(qos) = hints.map(|hints| hints.qos) else { return self };
        if let Some(deadline) = qos.deadline_ms.map(Duration::from_millis) {
            self.deadline = self.deadline.min(deadline);
        }
        if let Some(target) = qos.target_ttft_ms.map(Duration::from_millis) {
            self.head_wait = self.head_wait.max(target);
        }
        self.head_wait = self.head_wait.min(self.deadline);
        self
    }
}

/// An admitted call with its attempts. Only `plan` makes one, so nothing is sent to a seat that was rejected.
///
/// ```
/// fn read(planned: plan::Planned) -> plan::PlannedParts {
///     planned.into_parts()
/// }
/// ```
///
/// Parts that were taken out don't become a plan again, whatever was added to them:
///
/// ```compile_fail
/// fn make(parts: plan::PlannedParts) -> plan::Planned {
///     plan::Planned { parts }
/// }
/// ```
pub struct Planned {
    parts: PlannedParts,
}

/// The parts that a plan is taken apart into.
pub struct PlannedParts {
    pub admitted: Admitted,
    pub resolved_model: Arc<str>,
    /// In the order in which they are to be made; never empty.
    pub attempts: Vec<Attempt>,
    /// Empty means every class that a fallback can help.
    pub fallback_on: Vec<FallbackClass>,
    /// Seats that were planned without, since their provider asked to wait, and for how many milliseconds.
    pub resting: Vec<(Attempt, u64)>,
    /// The other models that the request may go on with, in order.
    pub fallbacks: Vec<PlannedFallback>,
    pub timeouts: Timeouts,
    /// The board is to learn which seat is sent which prompt prefixes.
    pub tracks_prefixes: bool,
    pub record: PlanRecord,
    /// The most that the route lets the call's priority be.
    pub priority_max: Option<u8>,
    /// The revision of the capability manifest, if that rejected a candidate.
    pub manifest_revision: Option<String>,
}

/// An admitted call that nothing serves. The tab is open; the code that answers closes it.
pub struct PlanFailed {
    pub fault: Box<Fault>,
    pub admitted: Admitted,
    /// Empty if the name could not be resolved.
    pub resolved_model: Arc<str>,
    pub record: PlanRecord,
    /// As in a plan that serves.
    pub manifest_revision: Option<String>,
    /// The first seat that would have served, had its provider not asked to wait.
    pub resting: Option<Attempt>,
}

/// Plans a call. `random` draws among managed accounts; the same number gives the same plan.
///
/// # Errors
/// Nothing can serve it; the fault says what would.
pub fn plan(
    admitted: Admitted,
    board: &dyn AvailabilityView,
    random: u64,
    now_us: u64,
    now_unix_ms: u64,
) -> Result<Planned, Box<PlanFailed>> {
    let (call, caller) = (admitted.call(), admitted.caller());
    let traits = traits_of(call, caller);
    let (prompt, environment) = (PromptView::of(call), caller.environment());
    let query = CallQuery { call, caller, environment, prompt: &prompt, traits: traits.as_ref() };
    let (affinity, prefix_ends) = (|| affinity(query), || prefix_ends(query));
    let moment = Moment { random, affinity: &affinity, prefix_ends: &prefix_ends, now_us, now_unix_ms };
    let keepers = keepers(query);
    let choice = choose_for_call(query, &moment, &keepers, board);
    let attempts = &choice.decision.attempts;
    let has_several_nodes = attempts.iter().filter(|one| one.is_node()).nth(1).is_some();
    let placed =
        if has_several_nodes { placing::in_words(&input_of(query, &moment), board, attempts) } else { None };
    let record = record_of(&choice, placed, caller.snapshot().version());
    let manifest_revision = manifest_revision(&choice, caller);
    let spec = choice.decision.route.map(|route| &route.spec);
    let priority_max = spec.and_then(|spec| spec.priority);
    let fallback_on = spec.map(|spec| spec.fallback_on.clone()).unwrap_or_default();
    let timeouts = Timeouts::of(spec.unwrap_or(&UNROUTED)).within_policy(caller).within_hints(call.hints());
    let tracks_prefixes = has_several_nodes || spec.is_some_and(|spec| spec.strategy == Strategy::Cheapest);
    let resolved_model = choice.resolved_model();
    let Choice { decision: Decision { attempts, resting, fault, .. }, upstream_models, fallbacks, .. } =
        choice;
    if attempts.is_empty() {
        let fault = fault.unwrap_or_else(|| Box::new(Fault::internal()));
        let resting = resting.into_iter().next().map(|(attempt, _)| attempt);
        let failed = PlanFailed { fault, admitted, resolved_model, record, manifest_revision, resting };
        return Err(Box::new(failed));
    }
    let admitted =
        if upstream_models.is_empty() { admitted } else { admitted.with_upstream_models(upstream_models) };
    Ok(Planned {
        parts: PlannedParts {
            admitted,
            resolved_model,
            attempts,
            fallback_on,
            resting,
            fallbacks,
            timeouts,
            tracks_prefixes,
            record,
            priority_max,
            manifest_revision,
        },
    })
}

impl Planned {
    pub fn into_parts(self) -> PlannedParts {
        self.parts
    }

    pub const fn admitted(&self) -> &Admitted {
        &self.parts.admitted
    }

    /// Stores how the search of the semantic response cache ended.
    pub fn searched(&mut self, search: SemanticSearch) {
        self.parts.admitted.searched(search);
    }

    pub fn resolved_model(&self) -> &str {
        &self.parts.resolved_model
    }

    pub fn attempts(&self) -> &[Attempt] {
        &self.parts.attempts
    }

    pub fn fallback_on(&self) -> &[FallbackClass] {
        &self.parts.fallback_on
    }

    pub const fn timeouts(&self) -> Timeouts {
        self.parts.timeouts
    }

    /// The priority of the call, within what its key and its route allow.
    pub fn priority(&self) -> Priority {
        let (call, caller) = (self.parts.admitted.call(), self.parts.admitted.caller());
        let qos = call.hints().map(|hints| hints.qos).unwrap_or_default();
        Priority::of(&qos, caller.key().and_then(|key| key.priority)).within(self.parts.priority_max)
    }

    pub const fn record(&self) -> &PlanRecord {
        &self.parts.record
    }
}

/// The part of a choice that is stored. Candidates that have nothing to do with the model are left out.
fn record_of(choice: &Choice<'_>, placed: Option<String>, snapshot_version: u64) -> PlanRecord {
    let decision = &choice.decision;
    let near = decision.rejected.iter().filter(|rejection| rejection.refusal != Refusal::DoesNotOffer);
    PlanRecord {
        resolution: choice.resolution(),
        route: decision.route.map_or(String::new(), |route| route.id.to_string()),
        candidates: decision.attempts.iter().map(Attempt::principal).collect(),
        rejected: choice
            .left()
            .cloned()
            .into_iter()
            .chain(nodes_left(decision))
            .chain(decision.attempts.first().zip(placed).map(|(first, detail)| Rejected {
                principal: first.principal(),
                provider: first.provider().to_owned(),
                reason: PLACED.to_owned(),
                detail,
            }))
            .chain(near.map(rejected))
            .take(RECORD_PLAN_ROWS_MAX)
            .collect(),
        snapshot_version,
    }
}

/// Why the plan begins behind the nodes of its route, where it does.
fn nodes_left(decision: &Decision<'_>) -> Option<Rejected> {
    let first = decision.attempts.first().filter(|first| first.is_after_nodes())?;
    let is_left = |rejection: &&Rejection| {
        matches!(rejection.seat, Seat::Byoc(_))
            && (rejection.refusal.is_limit() || rejection.refusal == Refusal::Unreachable)
    };
    let node = decision.rejected.iter().find(is_left)?;
    Some(left_node(&node.seat, first.left_in_plan_on()?, first.profile()))
}

/// How the record shows that the nodes of a route were left for another of its profiles: beside what the plan rejected.
pub fn left_node(seat: &Seat, on: FallbackClass, to: Profile) -> Rejected {
    let why = match on {
        FallbackClass::Auth => "it refused the gateway",
        FallbackClass::Quota => "it has no quota left",
        FallbackClass::RateLimit => "it takes no more requests for now",
        FallbackClass::Overloaded => "it is overloaded, or failed too often",
        FallbackClass::Upstream => "it failed or can't be reached",
        FallbackClass::Timeout => "it did not answer in time",
        FallbackClass::ModelMissing => "it does not have the model",
    };
    Rejected {
        principal: seat.principal(),
        provider: seat.provider().to_owned(),
        reason: format!("{NODE_LEFT}{}", on.as_str()),
        detail: format!("{} was left for {to}: {why}", seat.display_name()),
    }
}

/// After which failure the nodes were left, if that is what a reason says.
pub fn nodes_left_on(reason: &str) -> Option<FallbackClass> {
    FallbackClass::ALL.into_iter().find(|class| reason.strip_prefix(NODE_LEFT) == Some(class.as_str()))
}

/// How the nodes compared of which the first was chosen, if that is what a row of the record says.
pub fn placed(row: &Rejected) -> Option<&str> {
    (row.reason == PLACED).then_some(&*row.detail)
}

fn manifest_revision(choice: &Choice<'_>, caller: &Caller) -> Option<String> {
    let is_by_manifest = |rejection: &Rejection| matches!(rejection.refusal, Refusal::NotSupported { .. });
    let is_refused = choice.decision.fault.as_ref().is_some_and(|fault| fault.code == NOT_SUPPORTED);
    let has_decided = is_refused || choice.decision.rejected.iter().any(is_by_manifest);
    has_decided.then(|| caller.snapshot().catalogue().capabilities().revision().to_owned())
}

pub fn rejected(rejection: &Rejection) -> Rejected {
    Rejected {
        principal: rejection.seat.principal(),
        provider: rejection.seat.provider().to_owned(),
        reason: rejection.refusal.as_str().to_owned(),
        detail: rejection.sentence(),
    }
}

/// A credential whose commitment an attempt found used up, as it is recorded beside what the plan rejected.
pub fn rejected_as_spent(attempt: &Attempt) -> Rejected {
    rejected(&Rejection { seat: attempt.seat().clone(), refusal: Refusal::CommittedExhausted })
}

fn bounded(own_ms: Option<u64>, usual: Duration, most: Duration) -> Duration {
    own_ms.map_or(usual, Duration::from_millis).min(most)
}

//! What would happen to a call and why, without making it: the answer of `POST /v2/plan`.

use admit::{Call, Caller};
use board::AvailabilityView;
use domain::record::Rejected;
use domain::{
    FallbackClass, Fault, Modality, ModelFallbackClass, OverflowReason, Principal, Profile, Rates, RouteId,
    RouteScope, Strategy,
};
use snapshot::Snapshot;

use crate::attempt::{Attempt, Seat};
use crate::broker::UNROUTED;
use crate::choice::{
    CallQuery, Choice, Moment, SeatNeeds, affinity, choose, choose_for_call, input_of, keepers, prefix_ends,
    seat_needs, traits_of,
};
use crate::fallbacks::PlannedFallback;
use crate::placing::{self, Placement};
use crate::planned::rejected;
use crate::prompt_view::PromptView;
use crate::question::{PlanInput, PlanQuery};
use crate::served::own_modality;
use crate::uploads;
use crate::{candidates, routing, strategies};

/// The rule for an attempt that is made only if those before it fail.
const LATER: &str = "later_in_order";

/// The whole explanation.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The rule of resolution that matched, or empty.
    pub resolution: String,
    pub resolved_model: Option<String>,
    /// The modality that it was planned for.
    pub modality: Modality,
    /// `None` where no route matched and the broker's own order decided.
    pub route: Option<WinningRoute>,
    /// In the order in which they would be made.
    pub attempts: Vec<ExplainedAttempt>,
    /// The names that the models of a batch have at the first attempt's provider, in the order of the batch.
    pub batch_models: Vec<String>,
    pub rejected: Vec<Rejected>,
    /// What could serve it as well, by the policy and by their own state, with the rule why the first attempt is
    /// made instead.
    pub others: Vec<OtherCandidate>,
    /// The other models that it may go on with, in order.
    pub fallbacks: Vec<ExplainedFallback>,
    /// The error that the client would get, if nothing can serve.
    pub fault: Option<Box<Fault>>,
    pub snapshot_version: u64,
    /// The revision of the capability manifest that it was planned by.
    pub manifest_revision: String,
}

/// Another model that the request may go on with, after which failures, and what would serve it.
#[derive(Debug, Clone)]
pub struct ExplainedFallback {
    pub model: String,
    pub on: Vec<ModelFallbackClass>,
    pub attempts: Vec<ExplainedAttempt>,
    /// Why there are none.
    pub fault: Option<Box<Fault>>,
}

/// The route that applies, and why this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WinningRoute {
    pub id: RouteId,
    pub scope: RouteScope,
    pub why: &'static str,
    pub strategy: Strategy,
    /// What put the attempts in their order, in words; `None` without a strategy.
    pub order: Option<String>,
}

/// One attempt for people to read.
#[derive(Debug, Clone)]
pub struct ExplainedAttempt {
    /// The attempt itself, for its prices.
    pub attempt: Attempt,
    pub principal: Principal,
    pub profile: Profile,
    /// `None` for an operator's account: its name is the operator's.
    pub display_name: Option<String>,
    pub provider: String,
    pub upstream_model: String,
    pub region: Option<String>,
    pub rates: Option<Rates>,
    pub markup_bps: u32,
    pub is_fallback: bool,
    /// Why the plan itself left what it is a fallback for; `None` where an attempt finds out.
    pub fallback_on: Option<FallbackClass>,
    pub is_emergency: bool,
    /// Why it is made if it is, where it takes what exceeds the workspace's own capacity.
    pub overflow: Option<OverflowReason>,
    /// How long its first byte took lately, if that was measured.
    pub first_byte_us: Option<u64>,
    /// What is expected of a node that was chosen among several.
    pub placement: Option<Placement>,
}

/// A candidate that is not the first attempt, and the rule why.
#[derive(Debug, Clone)]
pub struct OtherCandidate {
    pub candidate: ExplainedAttempt,
    pub reason: &'static str,
    pub detail: String,
}

/// Decides as `plan` does, with the same arguments and the same result, and reports all of it. Without a
/// `modality`, the model's own is used.
pub fn explain(
    question: &PlanQuery<'_>,
    modality: Option<Modality>,
    snapshot: &Snapshot,
    board: &dyn AvailabilityView,
    random: u64,
    now_us: u64,
    now_unix_ms: u64,
) -> Explanation {
    let input = PlanInput {
        query: *question,
        accounts: snapshot.accounts(),
        catalogue: snapshot.catalogue(),
        data_plane: snapshot.data_plane(),
        required: None,
        random,
        affinity: &|| None,
        prefix_ends: &Vec::new,
        now_us,
        now_unix_ms,
        began_unix_ms: now_unix_ms,
    };
    let modality = modality.or_else(|| own_modality(&input)).unwrap_or(question.modality);
    let input = PlanInput { query: PlanQuery { modality, ..*question }, ..input };
    let mut choice = choose(&input, SeatNeeds::of_modality(modality), board);
    choice.leave_unavailable();
    let others = others(&input, &choice, &SeatNeeds::of_modality(modality), board);
    explanation(&input, choice, others, modality, snapshot.version(), board)
}

/// The same for a whole call, decoded and not admitted, as if `caller` made it in this environment.
pub fn explain_call(
    call: &Call,
    caller: &Caller,
    environment: &str,
    board: &dyn AvailabilityView,
    random: u64,
    now_us: u64,
    now_unix_ms: u64,
) -> Explanation {
    let traits = traits_of(call, caller);
    let prompt = PromptView::of(call);
    let query = CallQuery { call, caller, environment, prompt: &prompt, traits: traits.as_ref() };
    let (affinity, prefix_ends) = (|| affinity(query), || prefix_ends(query));
    let moment = Moment { random, affinity: &affinity, prefix_ends: &prefix_ends, now_us, now_unix_ms };
    let keepers = keepers(query);
    let choice = choose_for_call(query, &moment, &keepers, board);
    let input = input_of(query, &moment);
    let others = others(&input, &choice, &seat_needs(call, &keepers), board);
    explanation(&input, choice, others, call.operation().modality(), caller.snapshot().version(), board)
}

fn explanation(
    input: &PlanInput<'_>,
    choice: Choice<'_>,
    others: Vec<OtherCandidate>,
    modality: Modality,
    snapshot_version: u64,
    board: &dyn AvailabilityView,
) -> Explanation {
    let resolved_model = Some(choice.resolved_model()).filter(|name| !name.is_empty());
    let resolution = choice.resolution().into_owned();
    let left = choice.left().cloned();
    let fallbacks = choice.fallbacks;
    let batch_models = choice.upstream_models;
    let decision = choice.decision;
    Explanation {
        modality,
        resolution,
        resolved_model: resolved_model.map(|name| (*name).to_owned()),
        route: decision.route.map(|route| WinningRoute {
            id: route.id,
            scope: route.spec.scope.clone(),
            why: routing::reason(&route.spec),
            strategy: route.spec.strategy,
            order: strategies::why(input, &route.spec, board, &decision.attempts),
        }),
        attempts: placed(input, decision.attempts, board),
        batch_models,
        rejected: left.into_iter().chain(decision.rejected.iter().map(rejected)).collect(),
        others,
        fallbacks: fallbacks.into_iter().map(|one| explained_fallback(one, board)).collect(),
        fault: decision.fault,
        snapshot_version,
        manifest_revision: input.catalogue.capabilities().revision().to_owned(),
    }
}

/// The candidates that no policy forbids and that are in a state to serve, as they would be without a route, less
/// the first attempt. None where only one seat can serve it, or none at all.
fn others(
    input: &PlanInput<'_>,
    choice: &Choice<'_>,
    needs: &SeatNeeds<'_>,
    board: &dyn AvailabilityView,
) -> Vec<OtherCandidate> {
    let decision = &choice.decision;
    let (Some(first), Some(resolved), None) = (decision.attempts.first(), &decision.resolved, input.required)
    else {
        return Vec::new();
    };
    let found = candidates::gather(input, resolved, &UNROUTED);
    let able = found.byok.into_iter().chain(found.byoc).chain(found.managed);
    let serves = |attempt: &Attempt| match needs {
        SeatNeeds::None => true,
        SeatNeeds::Video(length) => uploads::makes_video(attempt, *length),
        SeatNeeds::Unshared => !matches!(attempt.seat(), Seat::Managed(_)),
        SeatNeeds::CachedContents => uploads::caches(input.catalogue, attempt),
        SeatNeeds::Batch(..) | SeatNeeds::Files(..) | SeatNeeds::BatchFile(..) => false,
    };
    able.filter(|attempt| serves(attempt) && attempt.principal() != first.principal())
        .filter_map(|attempt| {
            let principal = attempt.principal();
            let rejection =
                decision.rejected.iter().find(|rejection| rejection.seat.principal() == principal);
            let is_later = decision.attempts.iter().any(|other| other.principal() == principal);
            let (reason, detail) = match rejection {
                Some(rejection) => (rejection.refusal.as_str(), rejection.sentence()),
                None if is_later => (LATER, "is tried only after those before it".to_owned()),
                None => return None,
            };
            Some(OtherCandidate { candidate: explained(attempt, board), reason, detail })
        })
        .collect()
}

fn explained_fallback(fallback: PlannedFallback, board: &dyn AvailabilityView) -> ExplainedFallback {
    let PlannedFallback { on, model, attempts, fault } = fallback;
    let attempts = attempts.into_iter().map(|attempt| explained(attempt, board)).collect();
    ExplainedFallback { model: (*model).to_owned(), on, attempts, fault }
}

/// The attempts, with what is expected of the nodes if there are several.
fn placed(
    input: &PlanInput<'_>,
    attempts: Vec<Attempt>,
    board: &dyn AvailabilityView,
) -> Vec<ExplainedAttempt> {
    let count = attempts.iter().take_while(|attempt| attempt.is_node()).count();
    let nodes = attempts.get(..count).filter(|nodes| nodes.len() > 1).unwrap_or_default();
    let mut placements = placing::placements(input, board, nodes).into_iter();
    let explained = attempts.into_iter().map(|attempt| explained(attempt, board));
    explained.map(|one| ExplainedAttempt { placement: placements.next(), ..one }).collect()
}

fn explained(attempt: Attempt, board: &dyn AvailabilityView) -> ExplainedAttempt {
    let display_name = match attempt.seat() {
        Seat::Managed(_) => None,
        seat @ (Seat::Byok(_) | Seat::Byoc(_)) => Some(seat.display_name().to_owned()),
    };
    ExplainedAttempt {
        principal: attempt.principal(),
        profile: attempt.profile(),
        display_name,
        provider: attempt.provider().to_owned(),
        upstream_model: attempt.upstream_model().to_owned(),
        region: attempt.region().map(str::to_owned),
        rates: attempt.rates(),
        markup_bps: attempt.markup_bps(),
        is_fallback: attempt.is_fallback() || attempt.is_after_nodes(),
        fallback_on: attempt.left_in_plan_on(),
        is_emergency: attempt.is_emergency(),
        first_byte_us: board.first_byte_us(attempt.principal(), attempt.upstream_model()),
        overflow: attempt.overflow(),
        placement: None,
        attempt,
    }
}

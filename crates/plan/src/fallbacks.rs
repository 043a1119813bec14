//! The other models that a route's requests may go on with: each planned under the same route, profiles and policies.

use std::sync::Arc;

use board::AvailabilityView;
use domain::record::Rejected;
use domain::{AliasSplit, ByokFallback, FallbackClass, Fault, FaultClass, ModelFallbackClass, Profile};

use crate::aliases::ResolvedAlias;
use crate::attempt::{Attempt, Seat};
use crate::broker::{Decision, UNROUTED, decide_model, decide_under, is_absent};
use crate::faults;
use crate::question::{PlanInput, PlanQuery};
use crate::reason::{Refusal, Rejection};

/// Begins the reason of what the record shows of a model that was left; the class follows.
const REASON: &str = "model_fallback_";

/// Another model, with what would serve it.
#[derive(Debug, Clone)]
pub struct PlannedFallback {
    pub on: Vec<ModelFallbackClass>,
    /// Its full name; as the route names it where that means nothing.
    pub model: Arc<str>,
    /// In the order in which they would be made.
    pub attempts: Vec<Attempt>,
    /// Why there are none.
    pub fault: Option<Box<Fault>>,
}

/// The other models of the decision's route, in the route's order; before them the later targets of an ordered alias, which
/// is a list of models.
pub fn planned(
    input: &PlanInput<'_>,
    decision: &Decision<'_>,
    board: &dyn AvailabilityView,
) -> Vec<PlannedFallback> {
    if input.query.forbids_degrading() {
        return Vec::new();
    }
    let is_own = is_on_own(decision);
    let byok_fallback = decision.route.map_or(UNROUTED.byok_fallback, |route| route.spec.byok_fallback);
    let of = |model: &str, on: Vec<ModelFallbackClass>, mut other: Decision<'_>| {
        if is_own {
            stay_on_own(&mut other, byok_fallback);
        }
        let model = other.resolved.as_ref().map_or_else(|| model.into(), |it| Arc::clone(&it.name));
        let attempts = other.attempts.into_iter().map(|one| one.with_fallback_model(Arc::clone(&model)));
        PlannedFallback { on, attempts: attempts.collect(), model, fault: other.fault }
    };
    let later = later_targets(decision).map(|(model, target)| {
        let query = PlanQuery { model, ..input.query };
        let other = decide_model(&PlanInput { query, ..*input }, Some(target), board);
        of(model, ModelFallbackClass::ALL.to_vec(), other)
    });
    let routed = decision
        .route
        .into_iter()
        .flat_map(|route| route.spec.model_fallbacks.iter().map(move |fallback| (route, fallback)));
    let routed = routed.map(|(route, fallback)| {
        let query = PlanQuery { model: &fallback.model, ..input.query };
        let other = decide_under(&PlanInput { query, ..*input }, route, board);
        of(&fallback.model, fallback.on.clone(), other)
    });
    later.chain(routed).collect()
}

/// The targets of an ordered alias behind the one that was chosen. Those before it are not offered.
fn later_targets<'a>(decision: &Decision<'a>) -> impl Iterator<Item = (&'a str, ResolvedAlias<'a>)> {
    let is_ordered = |alias: &ResolvedAlias<'_>| alias.release.spec.split == AliasSplit::Ordered;
    let alias = decision.alias.filter(|alias| is_ordered(alias) && !is_absent(decision));
    alias.into_iter().flat_map(|alias| {
        let targets = alias.release.spec.targets.iter().enumerate().skip(alias.target + 1);
        targets.map(move |(target, one)| (&*one.model, ResolvedAlias { target, ..alias }))
    })
}

/// Whether the request would be served by what is the customer's own, or would if that were not at its limit.
fn is_on_own(decision: &Decision<'_>) -> bool {
    let is_busy = |rejection: &Rejection| {
        rejection.refusal.is_limit()
            || rejection.refusal.caution_ms().is_some()
            || rejection.refusal == Refusal::Unreachable
    };
    match decision.attempts.first() {
        Some(first) => {
            first.profile() != Profile::ManagedProvider || first.is_fallback() || first.overflow().is_some()
        }
        None => decision.rejected.iter().any(|one| !matches!(one.seat, Seat::Managed(_)) && is_busy(one)),
    }
}

/// A failure of the customer's own leads to the pool only where the route lets it, whichever the model.
fn stay_on_own(other: &mut Decision<'_>, byok_fallback: ByokFallback) {
    let leaves = |attempt: &Attempt| {
        attempt.profile() == Profile::ManagedProvider
            && !attempt.is_fallback()
            && !attempt.is_after_nodes()
            && attempt.overflow().is_none()
    };
    if !other.attempts.iter().any(leaves) {
        return;
    }
    let attempts = std::mem::take(&mut other.attempts).into_iter();
    if byok_fallback == ByokFallback::Managed {
        other.attempts = attempts.map(|one| if leaves(&one) { one.into_fallback() } else { one }).collect();
        return;
    }
    let (left, kept): (Vec<_>, Vec<_>) = attempts.partition(leaves);
    other.attempts = kept;
    if other.attempts.is_empty() {
        let seats = left.into_iter().map(Attempt::into_seat);
        let rejected: Vec<_> = seats.map(|seat| Rejection { seat, refusal: Refusal::ByokStrict }).collect();
        let name = other.resolved.as_ref().map_or("the model", |resolved| &resolved.name);
        other.fault = Some(faults::fallback_leaves_own(name, &rejected));
    }
}

/// Takes the first of the rest that a failure of this class may go on to, and leaves those behind it. From the
/// customer's own to the pool only for the classes of `fallback_on`, of which none means every one.
pub fn next_model(
    rest: &mut Vec<PlannedFallback>,
    class: FaultClass,
    fallback_on: &[FallbackClass],
) -> Option<(ModelFallbackClass, PlannedFallback)> {
    let on = ModelFallbackClass::of(class)?;
    let may_pay =
        fallback_on.is_empty() || FallbackClass::of(class).is_some_and(|class| fallback_on.contains(&class));
    let is_next = |one: &PlannedFallback| {
        let first = one.attempts.first();
        one.on.contains(&on) && first.is_some_and(|first| may_pay || !first.is_fallback())
    };
    let at = rest.iter().position(is_next)?;
    rest.drain(..=at).next_back().map(|next| (on, next))
}

/// How the record shows that a model was left for another one: beside what the plan rejected.
pub fn rejected_model(seat: &Seat, on: ModelFallbackClass, from: &str, to: &str, why: &str) -> Rejected {
    Rejected {
        principal: seat.principal(),
        provider: seat.provider().to_owned(),
        reason: format!("{REASON}{}", on.as_str()),
        detail: format!("{from} was left for {to}: {why}"),
    }
}

/// After which failure a model was left, if that is what a reason says.
pub fn left_on(reason: &str) -> Option<ModelFallbackClass> {
    ModelFallbackClass::named(reason.strip_prefix(REASON)?)
}

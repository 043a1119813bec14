//! What would happen to a call and why, without making it: the answer of `POST /v2/plan`.

use board::AvailabilityView;
use domain::record::Rejected;
use domain::{Fault, Modality, Principal, Profile, Rates, RouteId, RouteScope};
use snapshot::Snapshot;

use crate::attempt::{Attempt, Seat};
use crate::choice::{SeatNeeds, choose};
use crate::planned::rejected;
use crate::question::{PlanInput, PlanQuery};
use crate::resolve::{self, ResolvedTarget};
use crate::routing;

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
    pub rejected: Vec<Rejected>,
    /// The error that the client would get, if nothing can serve.
    pub fault: Option<Box<Fault>>,
    pub snapshot_version: u64,
}

/// The route that applies, and why this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WinningRoute {
    pub id: RouteId,
    pub scope: RouteScope,
    pub why: &'static str,
}

/// One attempt for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedAttempt {
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
    pub is_emergency: bool,
}

/// Decides as `plan` does, with the same arguments and the same result, and reports all of it. Without a
/// `modality`, the model's own is used.
#[must_use]
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
        required: None,
        random,
        affinity: &|| None,
        now_us,
        now_unix_ms,
    };
    let modality = modality.unwrap_or_else(|| own_modality(&input));
    let input = PlanInput { query: PlanQuery { modality, ..*question }, ..input };
    let decision = choose(&input, SeatNeeds::of_modality(modality), board).decision;
    Explanation {
        modality,
        resolution: decision
            .resolved
            .as_ref()
            .map_or(String::new(), |resolved| resolved.rule.as_str().to_owned()),
        resolved_model: decision.resolved.as_ref().map(|resolved| (*resolved.name).to_owned()),
        route: decision.route.map(|route| WinningRoute {
            id: route.id,
            scope: route.spec.scope.clone(),
            why: routing::reason(&route.spec),
        }),
        attempts: decision.attempts.iter().map(explained).collect(),
        rejected: decision.rejected.iter().map(rejected).collect(),
        fault: decision.fault,
        snapshot_version: snapshot.version(),
    }
}

/// The model's modality, or the question's if the catalogue does not know the model.
fn own_modality(input: &PlanInput<'_>) -> Modality {
    match resolve::resolve(input).map(|resolved| resolved.target) {
        Ok(ResolvedTarget::Model { model, .. }) => model.modality,
        _ => input.query.modality,
    }
}

fn explained(attempt: &Attempt) -> ExplainedAttempt {
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
        is_fallback: attempt.is_fallback(),
        is_emergency: attempt.is_emergency(),
    }
}

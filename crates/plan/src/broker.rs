//! The routing decision: resolve the model, find the route, gather candidates,
//! choose the profile, read the board.

use std::borrow::Cow;
use std::sync::LazyLock;

use board::AvailabilityView;
use domain::limits::{EJECTED_PERCENT_MAX, PACE_WAIT_MAX};
use domain::{
    AliasTarget, ByokFallback, FallbackClass, Fault, FaultClass, OverflowReason, Principal, Profile,
    RouteSpec, Strategy,
};
use snapshot::RouteEntry;

use crate::aliases::{self, ResolvedAlias};
use crate::attempt::{Attempt, Seat};
use crate::candidates::{self, Candidates};
use crate::listed::{lacks_model, listed_profiles};
use crate::question::{PlanInput, PlanQuery, RequiredSeat, SeatHas};
use crate::reason::{Refusal, Rejection};
use crate::resolve::{self, Resolved, ResolvedTarget};
use crate::{faults, order, placing, routing, strategies};

/// The route spec that applies where no route matches.
pub static UNROUTED: LazyLock<RouteSpec> = LazyLock::new(RouteSpec::default);

/// What would happen to a call, and why. Either `attempts` is not empty or `fault` says what to do.
#[derive(Debug)]
pub struct Decision<'a> {
    /// The alias that the model's name is, also where its target means nothing here.
    pub alias: Option<ResolvedAlias<'a>>,
    pub resolved: Option<Resolved<'a>>,
    pub route: Option<&'a RouteEntry>,
    pub attempts: Vec<Attempt>,
    pub rejected: Vec<Rejection>,
    /// Those of the rejected whose provider asked to wait, and for how many milliseconds.
    pub resting: Vec<(Attempt, u64)>,
    pub fault: Option<Box<Fault>>,
}

impl Decision<'_> {
    const fn empty() -> Self {
        Self {
            alias: None,
            resolved: None,
            route: None,
            attempts: Vec::new(),
            rejected: Vec::new(),
            resting: Vec::new(),
            fault: None,
        }
    }

    /// A decision that failed before any candidate was considered.
    pub fn failed(fault: Box<Fault>) -> Self {
        Self { fault: Some(fault), ..Self::empty() }
    }

    /// How the name was resolved, as the record keeps it.
    pub fn resolution(&self) -> Cow<'static, str> {
        match (self.alias, &self.resolved) {
            (Some(alias), _) => alias.resolution(),
            (None, Some(resolved)) => Cow::Borrowed(resolved.rule.as_str()),
            (None, None) => Cow::default(),
        }
    }
}

/// The attempts that may be made now, and those that the board rules out, with the time left.
#[derive(Debug, Default)]
struct Split {
    open: Vec<Attempt>,
    closed: Vec<(Attempt, Refusal)>,
}

/// Decides about the model, or about the targets of an alias in order: the next one only if nothing offers those
/// before.
pub fn decide<'a>(input: &PlanInput<'a>, board: &dyn AvailabilityView) -> Decision<'a> {
    match aliases::find(input) {
        None => decide_model(input, None, board),
        Some(found) => decide_alias(input, found, board),
    }
}

fn decide_alias<'a>(
    input: &PlanInput<'a>,
    found: ResolvedAlias<'a>,
    board: &dyn AvailabilityView,
) -> Decision<'a> {
    let mut absent: Option<Decision<'a>> = None;
    for target in aliases::order(found.release, input.query.split_key) {
        let Some(AliasTarget { model, .. }) = found.release.spec.targets.get(target) else { continue };
        let input = PlanInput { query: PlanQuery { model, ..input.query }, ..*input };
        let mut decision = decide_model(&input, Some(ResolvedAlias { target, ..found }), board);
        let before = absent.take();
        if !is_absent(&decision) {
            let rejected = before.into_iter().flat_map(|before| before.rejected);
            decision.rejected.splice(0..0, rejected);
            return decision;
        }
        // The client reads why the first of them is absent.
        absent = Some(match before {
            None => decision,
            Some(mut first) => {
                first.rejected.append(&mut decision.rejected);
                first
            }
        });
    }
    absent.unwrap_or_else(|| Decision::failed(Box::new(Fault::internal())))
}

/// Whether a decision found that nothing offers the target, as opposed to a target that is busy or out of
/// order: only then the next one is considered.
pub fn is_absent(decision: &Decision<'_>) -> bool {
    let class = decision.fault.as_ref().map(|fault| fault.class);
    let is_absence = matches!(
        class,
        Some(FaultClass::NotFound | FaultClass::Unsupported | FaultClass::Forbidden | FaultClass::BadRequest)
    );
    decision.attempts.is_empty() && is_absence
}

/// Decides about a model under the route that applies, or about the target of an alias.
pub fn decide_model<'a>(
    input: &PlanInput<'a>,
    alias: Option<ResolvedAlias<'a>>,
    board: &dyn AvailabilityView,
) -> Decision<'a> {
    match resolve::resolve(input) {
        Ok(resolved) => {
            let resolved = Resolved { alias, ..resolved };
            let route = routing::winning(input, &resolved, &[]);
            let mut decision = decide_resolved(input, resolved, route, board);
            let mut passed = Vec::new();
            while let Some(route) = decision.route.filter(|route| lets_pass(input, route, &decision)) {
                let Some(resolved) = decision.resolved.take() else { break };
                passed.push(route.id);
                let route = routing::winning(input, &resolved, &passed);
                decision = decide_resolved(input, resolved, route, board);
            }
            decision
        }
        Err(fault) => Decision { alias, ..Decision::failed(fault) },
    }
}

/// Whether nothing that the route allows has the model, and it says that its requests then go on.
fn lets_pass(input: &PlanInput<'_>, route: &RouteEntry, decision: &Decision<'_>) -> bool {
    route.spec.fallback_on.contains(&FallbackClass::ModelMissing)
        && input.required.is_none()
        && lacks_model(input, &route.spec, decision.attempts.is_empty(), &decision.rejected)
}

/// Decides about another model under a route that applies already.
pub fn decide_under<'a>(
    input: &PlanInput<'a>,
    route: &'a RouteEntry,
    board: &dyn AvailabilityView,
) -> Decision<'a> {
    match resolve::resolve(input) {
        Ok(resolved) => decide_resolved(input, resolved, Some(route), board),
        Err(fault) => Decision::failed(fault),
    }
}

fn decide_resolved<'a>(
    input: &PlanInput<'a>,
    resolved: Resolved<'a>,
    route: Option<&'a RouteEntry>,
    board: &dyn AvailabilityView,
) -> Decision<'a> {
    let is_trial = input.required.is_some_and(|required| matches!(required.has, SeatHas::Trial));
    let route = route.filter(|_| !is_trial);
    let mut decision = Decision { alias: resolved.alias, route, ..Decision::empty() };
    let strict = strict_spec(input, decision.route);
    let spec = strict.as_ref().or(decision.route.map(|route| &route.spec)).unwrap_or(&UNROUTED);
    let mut found = candidates::gather(input, &resolved, spec);
    if !found.subscription.is_empty() {
        refuse_used_up(input, board, &mut found);
    }
    decision.fault = wrong_modality(input, &resolved);
    if decision.fault.is_none() {
        choose(input, &resolved, spec, &mut found, board, &mut decision);
    }
    if spec.drops_hosted_tools {
        let resting = decision.resting.iter_mut().map(|(attempt, _)| attempt);
        decision.attempts.iter_mut().chain(resting).for_each(Attempt::drop_hosted_tools);
    }
    decision.rejected = found.rejected;
    if strict.is_some() {
        tell_forbidden_fallbacks(&mut decision.rejected);
    }
    if decision.attempts.is_empty() && decision.fault.is_none() {
        let rejected = &decision.rejected;
        decision.fault = Some(match input.required {
            Some(RequiredSeat { principal, has: SeatHas::SourceObject }) => {
                faults::remix_cannot(input, &resolved, principal, rejected)
            }
            Some(RequiredSeat { principal, has: SeatHas::File(path) }) => {
                faults::keeper_cannot(input, &resolved, principal, path, rejected)
            }
            Some(RequiredSeat { principal, has: SeatHas::Answer }) => {
                faults::maker_cannot(principal, rejected)
            }
            Some(RequiredSeat { has: SeatHas::Trial, .. }) | None => {
                faults::nothing_serves(input, &resolved, decision.route, rejected)
            }
        });
    }
    decision.resolved = Some(resolved);
    decision
}

/// The route's rule without what follows a failure, where the client's hints forbid that and the route has it.
fn strict_spec(input: &PlanInput<'_>, route: Option<&RouteEntry>) -> Option<RouteSpec> {
    let spec = &route.filter(|_| input.query.forbids_degrading())?.spec;
    spec.degrades().then(|| spec.without_degrading())
}

/// It is the request that refuses them, and not the route.
fn tell_forbidden_fallbacks(rejected: &mut [Rejection]) {
    for rejection in rejected {
        if matches!(rejection.refusal, Refusal::ByokStrict | Refusal::EmergencyNotAllowed) {
            rejection.refusal = Refusal::DegradeForbidden;
        }
    }
}

fn wrong_modality(input: &PlanInput<'_>, resolved: &Resolved<'_>) -> Option<Box<Fault>> {
    match resolved.target {
        ResolvedTarget::Model { model, .. } if model.modality != input.query.modality => {
            Some(faults::wrong_modality(model, input.query.modality))
        }
        _ => None,
    }
}

/// The candidates of each profile, in the order in which they would be tried.
struct Ordered {
    subscription: Vec<Attempt>,
    byok: Vec<Attempt>,
    byoc: Vec<Attempt>,
    managed: Vec<Attempt>,
}

fn in_order(
    input: &PlanInput<'_>,
    resolved: &Resolved<'_>,
    spec: &RouteSpec,
    found: &mut Candidates,
    board: &dyn AvailabilityView,
) -> Ordered {
    let mut subscription = std::mem::take(&mut found.subscription);
    let mut byok = std::mem::take(&mut found.byok);
    let mut byoc = std::mem::take(&mut found.byoc);
    let managed = std::mem::take(&mut found.managed);
    order::credentials(input, resolved, spec, &mut subscription);
    order::credentials(input, resolved, spec, &mut byok);
    committed_first(input, spec, board, &mut byok);
    placing::arrange(input, board, &mut byoc);
    let mut managed = order::accounts(input, spec, managed);
    for attempts in [&mut byok, &mut byoc, &mut managed] {
        strategies::arrange(input, spec, board, attempts);
    }
    Ordered { subscription, byok, byoc, managed }
}

fn choose(
    input: &PlanInput<'_>,
    resolved: &Resolved<'_>,
    spec: &RouteSpec,
    found: &mut Candidates,
    board: &dyn AvailabilityView,
    decision: &mut Decision<'_>,
) {
    let listed = listed_profiles(spec);
    let emergency = std::mem::take(&mut found.emergency);
    if let Some(required) = input.required {
        refuse_all(found, emergency, Refusal::NotItsMaker);
        return choose_creator(input, spec, required.principal, found, board, decision);
    }
    let aside = set_aside(spec, &mut found.byok);
    let best = strategies::best_profile(input, spec, found, board);
    let Some(chosen) = best.or_else(|| chosen_profile(input, listed, spec, found)) else {
        drop_unlisted(listed, found);
        refuse_all(found, aside, Refusal::OverflowOnly);
        return refuse_all(found, emergency, Refusal::EmergencyNotDue);
    };
    let Ordered { subscription, mut byok, byoc, managed } = in_order(input, resolved, spec, found, board);
    let refusal = |profile: Profile| {
        if listed.contains(&profile) {
            Refusal::ProfileNotChosen { chosen }
        } else {
            Refusal::ProfileNotInRoute
        }
    };
    let subscription = if matches!(chosen, Profile::Subscription | Profile::Byoc) {
        subscription
    } else {
        refuse_all(found, subscription, Refusal::ProfileNotChosen { chosen });
        Vec::new()
    };
    let are_nodes_away =
        byoc.is_empty() && found.has_unreachable_node() && behind_nodes(spec).contains(&chosen);
    match chosen {
        Profile::Subscription => {
            byok.extend(aside);
            refuse_all(found, byok, refusal(Profile::Byok));
            refuse_all(found, byoc, refusal(Profile::Byoc));
            refuse_all(found, managed, refusal(Profile::ManagedProvider));
            refuse_all(found, emergency, Refusal::EmergencyOnly);
            take(found, split(input, board, subscription), decision);
        }
        Profile::Byok => {
            refuse_all(found, byoc, refusal(Profile::Byoc));
            refuse_all(found, emergency, Refusal::EmergencyOnly);
            let (own, managed) = (split(input, board, byok), split(input, board, managed));
            choose_credentials(input, spec, board, found, (own, aside, managed), decision);
        }
        Profile::Byoc => {
            refuse_all(found, emergency, Refusal::EmergencyOnly);
            let nodes = split(input, board, byoc);
            let behind = Ordered { subscription, byok, byoc: Vec::new(), managed };
            choose_nodes(input, spec, board, found, (nodes, behind, aside), decision);
        }
        Profile::ManagedProvider => {
            byok.extend(aside);
            refuse_all(found, byok, refusal(Profile::Byok));
            refuse_all(found, byoc, refusal(Profile::Byoc));
            take(found, split(input, board, managed), decision);
            append_emergency(found, split(input, board, order::accounts(input, spec, emergency)), decision);
        }
    }
    if are_nodes_away {
        let attempts = std::mem::take(&mut decision.attempts).into_iter();
        let after = attempts.map(|attempt| attempt.into_after_nodes().planned_on(FallbackClass::Upstream));
        decision.attempts = after.collect();
    }
}

/// What the route itself lists behind the nodes: the profiles that follow where they fail or are full. The broker's own order
/// keeps what nodes serve there.
fn behind_nodes(spec: &RouteSpec) -> &[Profile] {
    if spec.profiles.is_empty() && spec.strategy != Strategy::LocalFirst {
        return &[];
    }
    let listed = listed_profiles(spec);
    let at = listed.iter().position(|profile| *profile == Profile::Byoc);
    at.and_then(|at| listed.get(at + 1..)).unwrap_or_default()
}

/// The nodes first. Where they fail or are full, the call goes on to the first profile that the route lists behind them and
/// that has a candidate, for the classes of `fallback_on`, unless its hints forbid that.
fn choose_nodes(
    input: &PlanInput<'_>,
    spec: &RouteSpec,
    board: &dyn AvailabilityView,
    found: &mut Candidates,
    (nodes, behind, aside): (Split, Ordered, Vec<Attempt>),
    decision: &mut Decision<'_>,
) {
    let listed = behind_nodes(spec);
    let Ordered { subscription, mut byok, managed, .. } = behind;
    let next = listed.iter().copied().find(|profile| match profile {
        Profile::Byok => !byok.is_empty(),
        Profile::ManagedProvider => !managed.is_empty(),
        Profile::Subscription => !subscription.is_empty(),
        Profile::Byoc => false,
    });
    let forbids = input.query.forbids_degrading();
    let refusal = |profile: Profile| match next {
        Some(_) if forbids && listed.contains(&profile) => Refusal::DegradeForbidden,
        Some(chosen) if listed.contains(&profile) => Refusal::ProfileNotChosen { chosen },
        _ if listed_profiles(spec).contains(&profile) => Refusal::ProfileNotChosen { chosen: Profile::Byoc },
        _ => Refusal::ProfileNotInRoute,
    };
    let mut after = Decision::empty();
    let next = next.filter(|_| !forbids);
    if next != Some(Profile::Subscription) {
        refuse_all(found, subscription, refusal(Profile::Subscription));
    } else {
        take(found, split(input, board, subscription), &mut after);
    }
    if next == Some(Profile::Byok) {
        let (own, managed) = (split(input, board, byok), split(input, board, managed));
        choose_credentials(input, spec, board, found, (own, aside, managed), &mut after);
    } else {
        byok.extend(aside);
        refuse_all(found, byok, refusal(Profile::Byok));
        if next == Some(Profile::ManagedProvider) {
            take(found, split(input, board, managed), &mut after);
        } else {
            refuse_all(found, managed, refusal(Profile::ManagedProvider));
        }
    }
    let open: Vec<Attempt> = after.attempts.into_iter().map(Attempt::into_after_nodes).collect();
    let nodes = if open.is_empty() { nodes } else { without_full(input, board, nodes) };
    leave_own(spec, found, nodes, Split { open, closed: Vec::new() }, decision);
}

/// Emergency accounts come last, behind the rest of the pool: whether that fails is for the
/// serving core to find out. If one of the pool is only rate limited, the pool is not down, and
/// emergency accounts are not used.
fn append_emergency(found: &mut Candidates, kept: Split, decision: &mut Decision<'_>) {
    let is_limited = found
        .rejected
        .iter()
        .any(|rejection| matches!(rejection.seat, Seat::Managed(_)) && rejection.refusal.is_limit());
    if decision.attempts.is_empty() || is_limited {
        return refuse_all(found, kept.into_all(), Refusal::EmergencyNotDue);
    }
    refuse_closed(found, kept.closed);
    decision.attempts.extend(kept.open);
}

/// An object that only its maker knows is requested from that one alone, and only if the call may go there.
fn choose_creator(
    input: &PlanInput<'_>,
    spec: &RouteSpec,
    maker: Principal,
    found: &mut Candidates,
    board: &dyn AvailabilityView,
    decision: &mut Decision<'_>,
) {
    let listed = listed_profiles(spec);
    let may_leave = spec.byok_fallback != ByokFallback::Never || spec.overflow_managed;
    let first = chosen_profile(input, listed, spec, found);
    let is_own_first = matches!(first, Some(Profile::Byok | Profile::Subscription));
    let all =
        [&mut found.subscription, &mut found.byok, &mut found.byoc, &mut found.managed].map(std::mem::take);
    let (its, others): (Vec<_>, Vec<_>) =
        all.into_iter().flatten().partition(|attempt| attempt.principal() == maker);
    refuse_all(found, others, Refusal::NotItsMaker);
    let is_managed = maker.profile() == Profile::ManagedProvider;
    let is_listed = matches!(maker, Principal::Subscription(_))
        || listed.contains(&maker.profile())
        || is_managed && may_leave && listed.contains(&Profile::Byok);
    if !is_listed {
        refuse_all(found, its, Refusal::ProfileNotInRoute)
    } else if is_managed && is_own_first && !may_leave {
        refuse_all(found, its, Refusal::ByokStrict)
    } else {
        take(found, split(input, board, its), decision)
    }
}

/// An active subscription comes before every route, unless the route gives it another place in its list. Otherwise the
/// first listed profile that has a candidate. In the default order, and where the hints forbid what follows a failure, a node
/// that should serve and can't be reached keeps the call on the customer's hardware: that it is down is a failure, not an
/// absence.
fn chosen_profile(
    input: &PlanInput<'_>,
    listed: &[Profile],
    spec: &RouteSpec,
    found: &Candidates,
) -> Option<Profile> {
    if !found.subscription.is_empty() && !listed.contains(&Profile::Subscription) {
        return Some(Profile::Subscription);
    }
    let is_default = spec.profiles.is_empty() && spec.strategy != Strategy::LocalFirst;
    let stays_on_nodes = (is_default || input.query.forbids_degrading()) && found.has_unreachable_node();
    listed.iter().copied().find(|profile| match profile {
        Profile::Byok => !found.byok.is_empty(),
        Profile::Byoc => !found.byoc.is_empty() || stays_on_nodes,
        Profile::ManagedProvider => !found.managed.is_empty(),
        Profile::Subscription => !found.subscription.is_empty(),
    })
}

/// A subscription whose window is used up counts as absent until the window ends.
fn refuse_used_up(input: &PlanInput<'_>, board: &dyn AvailabilityView, found: &mut Candidates) {
    for attempt in std::mem::take(&mut found.subscription) {
        let until = attempt
            .subscription()
            .and_then(|(id, stated)| board.used_up_until(id, &stated.windows, input.now_unix_ms));
        match until {
            None => found.subscription.push(attempt),
            Some(until) => {
                let wait_ms = until.saturating_sub(input.now_unix_ms);
                found.reject(attempt.into_seat(), Refusal::WindowUsedUp { wait_ms });
            }
        }
    }
}

fn drop_unlisted(listed: &[Profile], found: &mut Candidates) {
    let all = [
        (Profile::Byok, std::mem::take(&mut found.byok)),
        (Profile::Byoc, std::mem::take(&mut found.byoc)),
        (Profile::ManagedProvider, std::mem::take(&mut found.managed)),
    ];
    for (profile, attempts) in all {
        // A listed profile with a candidate would have been chosen, so what is left here is not listed.
        debug_assert!(attempts.is_empty() || !listed.contains(&profile));
        refuse_all(found, attempts, Refusal::ProfileNotInRoute);
    }
}

/// The credential that takes only what exceeds the others. Where there are no others and the route lists none,
/// it serves like any credential.
fn set_aside(spec: &RouteSpec, byok: &mut Vec<Attempt>) -> Vec<Attempt> {
    let Some(id) = spec.overflow_own else { return Vec::new() };
    let is_it = |attempt: &Attempt| attempt.principal() == Principal::Credential(id);
    if byok.iter().all(is_it) && (spec.credential_ids.is_empty() || spec.credential_ids.contains(&id)) {
        return Vec::new();
    }
    let (aside, rest) = std::mem::take(byok).into_iter().partition(is_it);
    *byok = rest;
    aside
}

/// Capacity that is paid for ahead is filled first, unless the route orders the credentials itself.
fn committed_first(
    input: &PlanInput<'_>,
    spec: &RouteSpec,
    board: &dyn AvailabilityView,
    byok: &mut [Attempt],
) {
    let is_ordered = !spec.credential_ids.is_empty() || !spec.providers.is_empty();
    if byok.len() > 1 && !is_ordered && byok.iter().any(Attempt::has_capacity_of_its_own) {
        byok.sort_by_key(|attempt| {
            !attempt.has_capacity_of_its_own() || is_commitment_spent(input, board, attempt)
        });
    }
}

fn is_commitment_spent(input: &PlanInput<'_>, board: &dyn AvailabilityView, attempt: &Attempt) -> bool {
    attempt.commitment().is_some_and(|commitment| {
        board.is_commitment_spent(attempt.principal(), commitment.mark(input.now_unix_ms), input.now_us)
    })
}

/// Without the nodes at which the request would wait longer than it is worth where something else serves it.
fn without_full(input: &PlanInput<'_>, board: &dyn AvailabilityView, nodes: Split) -> Split {
    let placed = placing::placements(input, board, &nodes.open);
    let (mut open, mut closed) = (Vec::with_capacity(nodes.open.len()), nodes.closed);
    for (node, one) in nodes.open.into_iter().zip(placed) {
        if placing::is_full(&one) {
            closed.push((node, Refusal::NodeFull { wait_ms: one.expected.queue_us / 1_000 }));
        } else {
            open.push(node);
        }
    }
    Split { open, closed }
}

/// The customer's own credentials, and what the route lets follow them.
fn choose_credentials(
    input: &PlanInput<'_>,
    spec: &RouteSpec,
    board: &dyn AvailabilityView,
    found: &mut Candidates,
    (own, aside, managed): (Split, Vec<Attempt>, Split),
    decision: &mut Decision<'_>,
) {
    if spec.has_overflow() {
        let aside = split(input, board, aside);
        choose_with_overflow(input, spec, board, found, (own, aside, managed), decision);
    } else {
        choose_own(spec, found, own, managed, decision);
    }
}

/// The same as `choose_own` on a route with an overflow: it follows the credentials, and takes what they lack
/// the capacity for. No failure leads to it.
fn choose_with_overflow(
    input: &PlanInput<'_>,
    spec: &RouteSpec,
    board: &dyn AvailabilityView,
    found: &mut Candidates,
    (own, aside, managed): (Split, Split, Split),
    decision: &mut Decision<'_>,
) {
    let has_room =
        if spec.overflow_own.is_some() { !aside.open.is_empty() } else { !managed.open.is_empty() };
    // Where nothing takes what exceeds them, they serve beyond their commitments.
    let own = if has_room { without_spent(input, board, own) } else { own };
    let is_any_spent = own.closed.iter().any(|(_, refusal)| *refusal == Refusal::CommittedExhausted);
    let is_full = own.closed.iter().all(|(_, refusal)| refusal.is_limit());
    if !has_room || own.open.is_empty() && !is_any_spent && !is_full {
        refuse_all(found, aside.into_all(), Refusal::OverflowOnly);
        return choose_own(spec, found, own, managed, decision);
    }
    let reason = if is_any_spent { OverflowReason::CommittedExhausted } else { OverflowReason::RateLimited };
    let falls_back = spec.byok_fallback == ByokFallback::Managed;
    refuse_closed(found, own.closed);
    refuse_closed(found, aside.closed);
    decision.attempts = own.open;
    decision.attempts.extend(aside.open.into_iter().map(|attempt| attempt.into_overflow(reason)));
    if !spec.overflow_managed && !falls_back {
        return refuse_all(found, managed.into_all(), Refusal::ByokStrict);
    }
    refuse_closed(found, managed.closed);
    decision.attempts.extend(managed.open.into_iter().map(|mut attempt| {
        if falls_back {
            attempt = attempt.into_fallback();
        }
        if spec.overflow_managed { attempt.into_overflow(reason) } else { attempt }
    }));
}

/// Without the credentials whose commitment is used up.
fn without_spent(input: &PlanInput<'_>, board: &dyn AvailabilityView, own: Split) -> Split {
    let (spent, open) = own.open.into_iter().partition(|one| is_commitment_spent(input, board, one));
    let spent: Vec<Attempt> = spent;
    let spent = spent.into_iter().map(|attempt| (attempt, Refusal::CommittedExhausted));
    Split { open, closed: own.closed.into_iter().chain(spent).collect() }
}

/// The customer's own credentials first. The call leaves them only where the route allows it: after a failure,
/// by `byok_fallback`.
fn choose_own(
    spec: &RouteSpec,
    found: &mut Candidates,
    own: Split,
    managed: Split,
    decision: &mut Decision<'_>,
) {
    if spec.byok_fallback == ByokFallback::Never {
        refuse_all(found, managed.into_all(), Refusal::ByokStrict);
        return take(found, own, decision);
    }
    let open = managed.open.into_iter().map(Attempt::into_fallback).collect();
    leave_own(spec, found, own, Split { open, closed: managed.closed }, decision);
}

/// What is the customer's own first, then what the call may go on to after a failure.
fn leave_own(
    spec: &RouteSpec,
    found: &mut Candidates,
    own: Split,
    beyond: Split,
    decision: &mut Decision<'_>,
) {
    if !own.open.is_empty() {
        refuse_closed(found, own.closed);
        refuse_closed(found, beyond.closed);
        decision.attempts = own.open;
        decision.attempts.extend(beyond.open);
        return;
    }
    let (limited, unsure): (Vec<_>, Vec<_>) =
        own.closed.into_iter().partition(|(_, refusal)| refusal.rate_limited_ms().is_some());
    let is_limit_named = spec.fallback_on.is_empty() || spec.fallback_on.contains(&FallbackClass::RateLimit);
    if unsure.is_empty() && !is_limit_named {
        refuse_all(found, beyond.into_all(), Refusal::FallbackNotForThis);
        return take(found, Split { open: Vec::new(), closed: limited }, decision);
    }
    if beyond.open.is_empty() {
        refuse_closed(found, beyond.closed);
        let closed = limited.into_iter().chain(unsure).collect();
        return take(found, Split { open: Vec::new(), closed }, decision);
    }
    // Only the serving core knows what parked a credential or opened its breaker, and so whether the
    // route falls back for it. It reaches those seats, is denied permission by the board, and leaves
    // them for that cause or not at all.
    let is_left = unsure.is_empty();
    refuse_closed(found, limited);
    refuse_closed(found, beyond.closed);
    decision.attempts = unsure.into_iter().map(|(attempt, _)| attempt).collect();
    decision.attempts.extend(
        beyond
            .open
            .into_iter()
            .map(|attempt| if is_left { attempt.planned_on(FallbackClass::RateLimit) } else { attempt }),
    );
}

/// Takes the attempts that may be made. If there are none, those with an open breaker are tried all the
/// same, since a client is better served by an attempt than by a guess; so are parked ones, since only
/// opening their secret shows whether it is still the one that was refused. A provider's own "not before"
/// and what was agreed with it is not a guess, and is obeyed.
fn take(found: &mut Candidates, split: Split, decision: &mut Decision<'_>) {
    let rests = split.closed.iter();
    let rests = rests.filter_map(|(attempt, refusal)| Some((attempt.clone(), refusal.rate_limited_ms()?)));
    decision.resting.extend(rests);
    if !split.open.is_empty() {
        refuse_closed(found, split.closed);
        decision.attempts = split.open;
        return;
    }
    let first_reset_ms = split.closed.iter().filter_map(|(_, refusal)| refusal.rate_limited_ms()).min();
    let (last_resort, refused): (Vec<_>, Vec<_>) =
        split.closed.into_iter().partition(|(_, refusal)| match refusal {
            Refusal::Parked { .. } => first_reset_ms.is_none(),
            // The retry loop waits for its turn.
            Refusal::Paced { wait_ms } => u128::from(*wait_ms) <= PACE_WAIT_MAX.as_millis(),
            refusal => refusal.caution_ms().is_some(),
        });
    decision.attempts = last_resort.into_iter().map(|(attempt, _)| attempt).collect();
    if let (true, Some(wait_ms)) = (decision.attempts.is_empty(), first_reset_ms) {
        decision.fault = Some(faults::all_limited(wait_ms));
    }
    refuse_closed(found, refused);
}

fn split(input: &PlanInput<'_>, board: &dyn AvailabilityView, attempts: Vec<Attempt>) -> Split {
    let standing = |attempt: &Attempt| board.availability(&attempt.seat_key(), input.now_us);
    if attempts.iter().all(|attempt| standing(attempt).is_open()) {
        return Split { open: attempts, closed: Vec::new() };
    }
    let (pool, mut split) = (attempts.len(), Split::default());
    for attempt in attempts {
        match Refusal::of(standing(&attempt), input.now_us) {
            None => split.open.push(attempt),
            Some(refusal) => split.closed.push((attempt, refusal)),
        }
    }
    split.keep_half(pool);
    split
}

impl Split {
    /// Breakers keep at most half of a pool from being called: of those beyond it, the first that are due
    /// come after all others.
    fn keep_half(&mut self, pool: usize) {
        let most = pool * EJECTED_PERCENT_MAX / 100;
        while !self.open.is_empty() {
            let cautions = self.closed.iter().enumerate();
            let cautions = cautions.filter_map(|(at, (_, refusal))| Some((refusal.caution_ms()?, at)));
            let ejected = cautions.clone().count();
            match cautions.min().filter(|_| ejected > most) {
                Some((_, at)) => self.open.push(self.closed.remove(at).0),
                None => return,
            }
        }
    }

    fn into_all(self) -> Vec<Attempt> {
        self.open.into_iter().chain(self.closed.into_iter().map(|(attempt, _)| attempt)).collect()
    }
}

fn refuse_all(found: &mut Candidates, attempts: Vec<Attempt>, refusal: Refusal) {
    for attempt in attempts {
        found.reject(attempt.into_seat(), refusal);
    }
}

fn refuse_closed(found: &mut Candidates, closed: Vec<(Attempt, Refusal)>) {
    for (attempt, refusal) in closed {
        found.reject(attempt.into_seat(), refusal);
    }
}

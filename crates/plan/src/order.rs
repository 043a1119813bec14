//! The broker's own order in which the candidates of one profile are tried. A route's strategy may put them in another.

use std::hash::{BuildHasher, BuildHasherDefault};

use domain::{IdHasher, RouteSpec};
use placement::mix;

use crate::attempt::{Attempt, Seat};
use crate::question::PlanInput;
use crate::resolve::{Resolved, ResolvedTarget};

/// Own credentials: as the route lists them, else by the route's providers, else the publisher's own provider
/// first; then the oldest first.
pub fn credentials(
    input: &PlanInput<'_>,
    resolved: &Resolved<'_>,
    spec: &RouteSpec,
    attempts: &mut [Attempt],
) {
    attempts.sort_by_key(|attempt| {
        let Seat::Byok(credential) = attempt.seat() else { return (usize::MAX, usize::MAX, u64::MAX) };
        let listed = rank_in(&spec.credential_ids, |id| *id == credential.id);
        (listed, seller_rank(input, resolved, spec, attempt), credential.created_unix_ms)
    });
}

/// Accounts: by the route's providers if it lists some; else, and among equals, a weighted random draw. An
/// account of weight zero comes after those with a weight. Prompts with the same prefix draw the same order.
pub fn accounts(input: &PlanInput<'_>, spec: &RouteSpec, attempts: Vec<Attempt>) -> Vec<Attempt> {
    let mut drawn = Vec::with_capacity(attempts.len());
    let mut left = attempts;
    let mut chance = if left.len() > 1 { (input.affinity)().unwrap_or(input.random) } else { input.random };
    while !left.is_empty() {
        let total: u64 = left.iter().map(weight).sum();
        chance = mix(chance);
        // The bias of a remainder of 64 random bits is below 2^-32 for every sum of weights that a pool has.
        let mut rest = if total == 0 { 0 } else { chance % total };
        let at = left.iter().position(|attempt| {
            let own = weight(attempt);
            let hit = total == 0 || rest < own;
            rest = rest.saturating_sub(own);
            hit
        });
        drawn.push(left.remove(at.unwrap_or(0)));
    }
    drawn.sort_by_key(|attempt| rank_in(&spec.providers, |name| input.canonical(name) == attempt.provider()));
    drawn
}

/// The seats of a session, by rendezvous hashing: each is ranked by a hash of itself and the session, so that the first stays
/// the first while others come and go, and a seat that goes moves only its own sessions, over all that are left. A seat of twice
/// the weight is the first of twice the sessions; one without a weight comes last.
pub fn by_session(session_key: u64, attempts: &mut [Attempt]) {
    let hasher = BuildHasherDefault::<IdHasher>::default();
    let rank = |attempt: &Attempt| {
        let weight = match attempt.seat() {
            Seat::Managed(account) => account.weight,
            Seat::Byok(_) | Seat::Byoc(_) => 1,
        };
        let drawn = mix(hasher.hash_one((session_key, attempt.principal())));
        // The high half, as a fraction between 0 and 1, neither of which it is.
        let fraction =
            (f64::from(u32::try_from(drawn >> 32).unwrap_or(0)) + 0.5) / (f64::from(u32::MAX) + 1.0);
        f64::from(weight) / -fraction.ln()
    };
    attempts.sort_by(|one, other| rank(other).total_cmp(&rank(one)));
}

fn seller_rank(input: &PlanInput<'_>, resolved: &Resolved<'_>, spec: &RouteSpec, attempt: &Attempt) -> usize {
    if !spec.providers.is_empty() {
        return rank_in(&spec.providers, |name| input.canonical(name) == attempt.provider());
    }
    let publisher = match resolved.target {
        ResolvedTarget::Model { model, .. } => Some(model.publisher.as_str()),
        ResolvedTarget::AtSeller { .. } | ResolvedTarget::OnNode { .. } => None,
    };
    let own = publisher.and_then(|name| input.catalogue.own_provider(name));
    usize::from(own.is_none_or(|facts| facts.slug != attempt.provider()))
}

fn rank_in<T>(list: &[T], is_it: impl Fn(&T) -> bool) -> usize {
    list.iter().position(is_it).unwrap_or(list.len())
}

fn weight(attempt: &Attempt) -> u64 {
    match attempt.seat() {
        Seat::Managed(account) => u64::from(account.weight),
        Seat::Byok(_) | Seat::Byoc(_) => 0,
    }
}

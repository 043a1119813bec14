//! What the board tells people: pauses, breakers with who met them, load and pacing. Nothing here is read while a
//! request is served.

use std::collections::BTreeMap;

use domain::{AgreedLimits, FaultClass, Principal, WorkspaceId};

use crate::load::Load;
use crate::outlier::RecentFailures;
use crate::pace::{Pace, Pacing, paces};
use crate::scope::{BreakerLevel, OpenBreaker};
use crate::shared::Shared;

/// Why a principal is not called for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseCause {
    /// The provider refused the credential itself, for this reason.
    Refused(FaultClass),
    /// The provider limited it, and named the time.
    Limited,
    /// The provider limited it without a time: this is our own caution.
    Caution,
}

/// A time in which a principal is not called, with one model or with all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// `None` for all of them.
    pub model: Option<Box<str>>,
    pub cause: PauseCause,
    /// A time that has passed means that the next request finds out whether it is over.
    pub until_us: u64,
    /// The secret that was refused; a newer one is not affected.
    pub secret_version: Option<u32>,
}

/// A breaker that is not closed, with who met it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedBreaker {
    pub breaker: OpenBreaker,
    pub principals: Vec<Principal>,
}

impl Shared {
    /// The pauses of a principal that are not over, by model.
    pub fn pauses(&self, principal: Principal, now_us: u64) -> Vec<Pause> {
        let notices = self.current();
        let parked = notices.parked.get(&principal).into_iter().flatten().map(|(model, parking)| Pause {
            model: model.clone(),
            cause: PauseCause::Refused(parking.cause),
            until_us: parking.probe_at_us,
            secret_version: Some(parking.secret_version),
        });
        let rests = notices.rests.get(&principal).into_iter().flatten();
        let rests = rests.filter(|rest| rest.until_us > now_us).map(|rest| Pause {
            model: Some(rest.model.clone()),
            cause: if rest.named_until_us > now_us { PauseCause::Limited } else { PauseCause::Caution },
            until_us: rest.until_us,
            secret_version: None,
        });
        let mut pauses: Vec<Pause> = parked.chain(rests).collect();
        pauses.sort_by(|one, other| one.model.cmp(&other.model));
        pauses
    }

    /// The breakers of one owner that are not closed, the widest first; `None` for the operator's accounts.
    pub fn breakers_of(&self, owner: Option<WorkspaceId>, now_us: u64) -> Vec<SharedBreaker> {
        let open = self.scopes().all_open(now_us).into_iter().filter(|(of, ..)| of.workspace == owner);
        let mut open: Vec<SharedBreaker> = open
            .map(|(of, scope, breaker)| {
                let principals = of.principal.map_or_else(|| self.placed_at(&scope), |one| vec![one]);
                SharedBreaker { breaker, principals }
            })
            .collect();
        open.iter_mut().for_each(|one| one.principals.sort_by_cached_key(ToString::to_string));
        open.sort_by(|one, other| key(&one.breaker).cmp(&key(&other.breaker)));
        open
    }

    /// How many breakers of other workspaces are not closed, by level: without a name of theirs.
    pub fn breakers_elsewhere(&self, here: WorkspaceId, now_us: u64) -> BTreeMap<BreakerLevel, u64> {
        let mut counts = BTreeMap::new();
        for (of, _, breaker) in self.scopes().all_open(now_us) {
            if of.workspace.is_some_and(|workspace| workspace != here) {
                *counts.entry(breaker.level).or_default() += 1;
            }
        }
        counts
    }

    /// How many of the attempts with a principal failed lately, over its models.
    pub fn failures(&self, principal: Principal, now_us: u64) -> RecentFailures {
        self.scopes().failures_of(principal, now_us)
    }

    /// How busy and how fast a principal is with each model that it was asked for lately, by model.
    pub fn loads(&self, principal: Principal, now_us: u64) -> Vec<(Box<str>, Load)> {
        let mut loads = self.meters().of_principal(principal, now_us);
        loads.sort_by(|(one, _), (other, _)| one.cmp(other));
        loads
    }

    /// How many requests are in flight at a principal, with all of its models.
    pub fn in_flight(&self, principal: Principal, now_us: u64) -> u32 {
        self.meters().of_principal(principal, now_us).iter().map(|(_, load)| load.in_flight).sum()
    }

    /// What is left of the limits that were agreed for a principal; `None` if none of them paces requests.
    pub fn pacing(&self, principal: Principal, limits: &AgreedLimits, now_us: u64) -> Option<Pacing> {
        if !paces(limits) {
            return None;
        }
        let pace = self.recorded_pace(principal, limits);
        Some(pace.map_or_else(|| Pace::new(*limits, self.gateways()).view(now_us), |pace| pace.view(now_us)))
    }
}

fn key(breaker: &OpenBreaker) -> (BreakerLevel, &str) {
    (breaker.level, &breaker.name)
}

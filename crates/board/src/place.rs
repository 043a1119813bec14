//! Where a principal is: the breakers that it shares with others, and its turns within its agreed limits.

use std::sync::Arc;

use domain::Principal;

use crate::nodes::NodeMeter;
use crate::pace::Pace;
use crate::scope::{Entry, Scope};
use crate::shared::Shared;
use crate::{Availability, SeatKey};

/// The breakers of a host, a region and a credential, in the order in which they are read.
pub(crate) type Groups = Arc<[Arc<Scope>]>;

/// Which of a seat's breakers an attempt is the trial of: a bit for each, the model's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trials(u8);

/// What a core found out about a principal, until its address, region or limits change.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) shared: Arc<Shared>,
    pub(crate) principal: Principal,
    base_url: Box<str>,
    region: Option<Box<str>>,
    groups: Groups,
    pub(crate) pace: Option<Arc<Pace>>,
    pub(crate) node: Option<Arc<NodeMeter>>,
}

/// The first breaker that lets nothing pass, else whether one wants a trial.
pub(crate) fn breakers(groups: &Groups, model: &Scope, now_us: u64) -> Availability {
    let mut standing = Availability::Open;
    for scope in groups.iter().map(|scope| &**scope).chain([model]) {
        match scope.standing(now_us) {
            Availability::Open => {}
            Availability::HalfOpen => standing = Availability::HalfOpen,
            shut => return shut,
        }
    }
    standing
}

/// Whether the agreed limits are used up, however few tokens a request has.
pub(crate) fn paced(pace: &Pace, now_us: u64) -> Option<Availability> {
    let ready_us = pace.ready_us(0, now_us);
    (ready_us > now_us).then_some(Availability::Paced { us: ready_us })
}

impl Place {
    pub(crate) fn new(shared: &Arc<Shared>, seat: &SeatKey<'_>) -> Self {
        Self {
            shared: Arc::clone(shared),
            principal: seat.principal,
            base_url: seat.base_url.into(),
            region: seat.region.map(Box::from),
            groups: shared.groups(seat),
            pace: shared.pace(seat),
            node: match seat.principal {
                Principal::Node(id) => Some(shared.node_meter(id)),
                _ => None,
            },
        }
    }

    pub(crate) fn is_of(&self, seat: &SeatKey<'_>, gateways: u64) -> bool {
        let is_paced_so = match (&self.pace, seat.limits) {
            (None, None) => true,
            (Some(pace), Some(limits)) => pace.is_of(limits, gateways),
            _ => false,
        };
        is_paced_so && *self.base_url == *seat.base_url && self.region.as_deref() == seat.region
    }

    /// Whether its breakers and its limits let a request pass.
    pub(crate) fn standing(&self, model: &Scope, now_us: u64) -> Availability {
        let breakers = breakers(&self.groups, model, now_us);
        if breakers.is_open() { self.paced(now_us).unwrap_or(breakers) } else { breakers }
    }

    /// Whether the agreed limits are used up, however few tokens a request has.
    pub(crate) fn paced(&self, now_us: u64) -> Option<Availability> {
        paced(self.pace.as_ref()?, now_us)
    }

    /// Passes the breakers, and takes the trials of those that are half open. With `is_last` a shut one is
    /// passed, too.
    pub(crate) fn enter(&self, model: &Scope, is_last: bool, now_us: u64) -> Result<Trials, Availability> {
        let mut trials = Trials::default();
        for (bit, scope) in self.scopes(model) {
            match scope.enter(now_us) {
                Entry::Free => {}
                Entry::Trial => trials.0 |= bit,
                Entry::Shut(_) if is_last => {}
                Entry::Shut(shut) => {
                    self.release(model, trials);
                    return Err(shut);
                }
            }
        }
        Ok(trials)
    }

    pub(crate) fn release(&self, model: &Scope, trials: Trials) {
        if trials != Trials::default() {
            let taken = self.scopes(model).filter(|(bit, _)| trials.0 & bit != 0);
            taken.for_each(|(_, scope)| scope.release());
        }
    }

    pub(crate) fn scopes<'a>(&'a self, model: &'a Scope) -> impl Iterator<Item = (u8, &'a Scope)> {
        let all = [model].into_iter().chain(self.groups.iter().map(|scope| &**scope));
        all.enumerate().map(|(at, scope)| (1 << at.min(7), scope))
    }
}

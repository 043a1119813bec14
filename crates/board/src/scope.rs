//! The breakers that all cores share, by host, region, credential and model. While nothing fails, a request
//! reads one number of them; what is written is written after failures.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::limits::BOARD_SCOPES_MAX;
use domain::{IdHasher, Principal, WorkspaceId};

use crate::breaker::BreakerState;
use crate::outlier::{MemberFailure, OpeningCause, Outlier, RecentFailures};
use crate::place::Groups;
use crate::{Availability, SeatKey};

domain::words! {
    /// What a breaker is for. In the order in which they are read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum BreakerLevel {
        Host = "host",
        Region = "region",
        Credential = "credential",
        Model = "model",
    }
}

/// A breaker that is not closed, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreaker {
    pub level: BreakerLevel,
    /// The host, `provider/region`, the credential's id or the model's name.
    pub name: Box<str>,
    /// A time that has passed means that the next request is its trial.
    pub until_us: u64,
    /// Since when it is not closed.
    pub since_us: u64,
    /// How often it opened since then.
    pub openings: u32,
    pub cause: OpeningCause,
}

/// Who a breaker is of, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BreakerOwner {
    pub(crate) workspace: Option<WorkspaceId>,
    pub(crate) principal: Option<Principal>,
}

/// What one breaker is for. What fails for one owner is not held against another's credentials: a tenant can
/// open no breaker of another tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ScopeName {
    level: BreakerLevel,
    /// `None` for the operator's accounts, which form one pool.
    owner: Option<WorkspaceId>,
    /// For credentials and models.
    principal: Option<Principal>,
    name: Box<str>,
}

/// One breaker. The numbers in front of the state let a request that meets a closed one pass without a lock.
#[derive(Debug)]
pub(crate) struct Scope {
    name: ScopeName,
    /// Zero while it is closed.
    opened: AtomicU64,
    /// Failures are remembered, which a success must reset.
    is_troubled: AtomicBool,
    state: Mutex<Outlier>,
    /// How many breakers are not closed.
    open_count: Arc<AtomicUsize>,
}

/// What a breaker says to a request that is about to pass it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Free,
    /// This request is the trial.
    Trial,
    Shut(Availability),
}

impl Scope {
    pub(crate) fn standing(&self, now_us: u64) -> Availability {
        if self.opened.load(Ordering::Relaxed) == 0 {
            return Availability::Open;
        }
        self.standing_of(self.lock().state(now_us))
    }

    const fn standing_of(&self, state: BreakerState) -> Availability {
        match state {
            BreakerState::Closed => Availability::Open,
            BreakerState::HalfOpen => Availability::HalfOpen,
            BreakerState::Open { until_us: us } | BreakerState::Trial { until_us: us } => {
                match self.name.level {
                    BreakerLevel::Model => Availability::BreakerOpen { us },
                    level => Availability::Ejected { us, level },
                }
            }
        }
    }

    /// Passes it, and takes its trial if it is half open.
    pub(crate) fn enter(&self, now_us: u64) -> Entry {
        if self.opened.load(Ordering::Relaxed) == 0 {
            return Entry::Free;
        }
        let mut state = self.lock();
        if state.try_half_open(now_us) {
            return Entry::Trial;
        }
        match self.standing_of(state.state(now_us)) {
            Availability::Open => Entry::Free,
            shut => Entry::Shut(shut),
        }
    }

    pub(crate) fn release(&self) {
        self.lock().release();
    }

    pub(crate) fn succeed(&self, entered_us: u64, now_us: u64) {
        if self.is_troubled.load(Ordering::Relaxed) {
            self.change(|state| state.succeed(entered_us, now_us));
        }
    }

    pub(crate) fn fail(&self, failure: MemberFailure, now_us: u64) {
        self.change(|state| {
            state.fail(failure, now_us);
        });
    }

    pub(crate) fn is_calm(&self) -> bool {
        !self.is_troubled.load(Ordering::Relaxed)
    }

    fn change(&self, act: impl FnOnce(&mut Outlier)) {
        let mut state = self.lock();
        let was_open = self.opened.load(Ordering::Relaxed) != 0;
        act(&mut state);
        self.is_troubled.store(!state.is_calm(), Ordering::Relaxed);
        let is_open = state.state(0) != BreakerState::Closed;
        self.opened.store(u64::from(is_open), Ordering::Release);
        match (was_open, is_open) {
            (false, true) => {
                self.open_count.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) => {
                self.open_count.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn view(&self, now_us: u64) -> Option<OpenBreaker> {
        let state = *self.lock();
        let until_us = match state.state(now_us) {
            BreakerState::Closed => return None,
            BreakerState::HalfOpen => now_us,
            BreakerState::Open { until_us } | BreakerState::Trial { until_us } => until_us,
        };
        let (since_us, cause, openings) = state.opening()?;
        let (level, name) = (self.name.level, self.name.name.clone());
        Some(OpenBreaker { level, name, until_us, since_us, openings, cause })
    }

    fn lock(&self) -> MutexGuard<'_, Outlier> {
        // The state is a plain value that is replaced whole, so a panic elsewhere does not corrupt it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if self.opened.load(Ordering::Relaxed) != 0 {
            self.open_count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The breakers of all cores. A core comes here for what it does not hold yet.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    all: Mutex<HashMap<ScopeName, Arc<Scope>>>,
    open_count: Arc<AtomicUsize>,
}

impl Scopes {
    /// Whether any breaker is not closed: if none is, no request needs to find its own.
    pub(crate) fn are_any_open(&self) -> bool {
        self.open_count.load(Ordering::Relaxed) != 0
    }

    /// The breakers of a seat that are not its model's alone.
    pub(crate) fn groups(&self, seat: &SeatKey<'_>) -> Groups {
        let host = seat.host();
        let region = seat.region.map(|region| format!("{}/{region}", seat.provider));
        let mut groups = Vec::with_capacity(3);
        if !host.is_empty() {
            groups.push(self.scope(BreakerLevel::Host, seat.owner, None, host));
        }
        if let Some(region) = region {
            groups.push(self.scope(BreakerLevel::Region, seat.owner, None, &region));
        }
        let id = seat.principal.to_string();
        groups.push(self.scope(BreakerLevel::Credential, seat.owner, Some(seat.principal), &id));
        groups.into()
    }

    pub(crate) fn model(&self, seat: &SeatKey<'_>) -> Arc<Scope> {
        self.scope(BreakerLevel::Model, seat.owner, Some(seat.principal), seat.model)
    }

    fn scope(
        &self,
        level: BreakerLevel,
        owner: Option<WorkspaceId>,
        principal: Option<Principal>,
        name: &str,
    ) -> Arc<Scope> {
        let name = ScopeName { level, owner, principal, name: name.into() };
        let mut all = self.lock();
        if let Some(scope) = all.get(&name) {
            return Arc::clone(scope);
        }
        if all.len() >= BOARD_SCOPES_MAX {
            all.retain(|_, scope| Arc::strong_count(scope) > 1 || !scope.is_calm());
        }
        if all.len() >= BOARD_SCOPES_MAX {
            // Cores go on with those that they hold; others begin closed.
            all.clear();
        }
        let scope = Arc::new(Scope {
            name: name.clone(),
            opened: AtomicU64::new(0),
            is_troubled: AtomicBool::new(false),
            state: Mutex::default(),
            open_count: Arc::clone(&self.open_count),
        });
        all.insert(name, Arc::clone(&scope));
        scope
    }

    /// The breakers of a principal that are not closed.
    pub(crate) fn open_of(
        &self,
        groups: &[Arc<Scope>],
        principal: Principal,
        now_us: u64,
    ) -> Vec<OpenBreaker> {
        if !self.are_any_open() {
            return Vec::new();
        }
        let of_models = self.of_models(principal);
        let mut open: Vec<OpenBreaker> =
            groups.iter().chain(&of_models).filter_map(|scope| scope.view(now_us)).collect();
        open.sort_by(|one, other| (one.level, &one.name).cmp(&(other.level, &other.name)));
        open
    }

    /// How many of the attempts with a principal failed lately, over its models.
    pub(crate) fn failures_of(&self, principal: Principal, now_us: u64) -> RecentFailures {
        let troubled = self.of_models(principal).into_iter().filter(|scope| !scope.is_calm());
        troubled.map(|scope| scope.lock().failures(now_us)).fold(RecentFailures::default(), |sum, one| {
            RecentFailures { failed: sum.failed + one.failed, attempts: sum.attempts + one.attempts }
        })
    }

    fn of_models(&self, principal: Principal) -> Vec<Arc<Scope>> {
        let all = self.lock();
        let is_its =
            |name: &ScopeName| name.level == BreakerLevel::Model && name.principal == Some(principal);
        all.iter().filter(|(name, _)| is_its(name)).map(|(_, scope)| Arc::clone(scope)).collect()
    }

    /// All breakers that are not closed, with whose they are.
    pub(crate) fn all_open(&self, now_us: u64) -> Vec<(BreakerOwner, Arc<Scope>, OpenBreaker)> {
        if !self.are_any_open() {
            return Vec::new();
        }
        let open: Vec<Arc<Scope>> = {
            let all = self.lock();
            all.values().filter(|scope| scope.opened.load(Ordering::Relaxed) != 0).map(Arc::clone).collect()
        };
        let views = open.into_iter().filter_map(|scope| {
            let owner = BreakerOwner { workspace: scope.name.owner, principal: scope.name.principal };
            let breaker = scope.view(now_us)?;
            Some((owner, scope, breaker))
        });
        views.collect()
    }

    /// Closes what belongs to a principal alone: its owner rotated or verified it.
    pub(crate) fn forgive(&self, principal: Principal) {
        let own: Vec<Arc<Scope>> = {
            let all = self.lock();
            let is_its = |name: &ScopeName| name.principal == Some(principal);
            all.iter().filter(|(name, _)| is_its(name)).map(|(_, scope)| Arc::clone(scope)).collect()
        };
        own.iter().for_each(|scope| scope.change(|state| *state = Outlier::default()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ScopeName, Arc<Scope>>> {
        // A breaker is inserted whole, so a panic elsewhere does not corrupt the map.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The member of a group that a seat is. That two share a number by chance delays an opening, no more.
fn member(level: BreakerLevel, principal: Principal, model: &str) -> u64 {
    let hashes = BuildHasherDefault::<IdHasher>::default();
    match level {
        BreakerLevel::Host | BreakerLevel::Region => hashes.hash_one(principal),
        BreakerLevel::Credential => hashes.hash_one(model),
        BreakerLevel::Model => 0,
    }
}

impl Scope {
    /// One failure of a seat, in the terms of this breaker.
    pub(crate) fn fail_for(&self, seat: Principal, model: &str, is_unreachable: bool, now_us: u64) {
        let level = self.name.level;
        let is_of_all = match level {
            BreakerLevel::Host => is_unreachable,
            BreakerLevel::Region | BreakerLevel::Credential => false,
            // It has one member, which is all of it.
            BreakerLevel::Model => true,
        };
        self.fail(MemberFailure { member: member(level, seat, model), is_of_all }, now_us);
    }
}

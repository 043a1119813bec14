//! State that all cores must see at once: refused credentials, and the pauses that providers asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{
    AgreedLimits, FaultClass, IdMap, NodeId, Principal, RateLimitStates as AccountStandings, SubscriptionId,
    UsageWindow, WindowUse, WorkspaceId,
};

use crate::keep_alive::{HeldPrompt, HeldPrompts, RepeatedPrompt};
use crate::load::{Load, Meters};
use crate::nodes::{NodeMeter, NodeMeters};
use crate::pace::Pace;
use crate::permit::{Permits, SideRequestPermit};
use crate::place::{self, Groups};
use crate::prefixes::{PrefixTable, Prefixes};
use crate::scope::{OpenBreaker, Scope, Scopes};
use crate::windows::Windows;
use crate::{Availability, AvailabilityView, SeatKey};
use domain::limits::{
    BOARD_MODELS_MAX, BOARD_NOTICES_MAX, BOARD_PRINCIPALS_MAX, COMMITMENT_SPENT_TIME, CONTEXT_CREATIONS_MAX,
    KEEP_ALIVE_RUNNING_MAX, PARKED_PROBE_EVERY, REST_MAX,
};
use domain::timeline::micros;
use placement::{LoadReport, NodeLoad};

/// Why and until when a principal is not called, with every model or with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parking {
    pub cause: FaultClass,
    pub probe_at_us: u64,
    /// The secret that was refused; a newer one is not affected.
    pub secret_version: u32,
}

/// The model, if it is about one alone, and why and until when it is not called.
pub(crate) type ParkedFor = (Option<Box<str>>, Parking);

/// By principal, the microseconds to the first byte with each model.
type Speeds = IdMap<Principal, Vec<(Box<str>, u64)>>;

/// One immutable version of the notices; cores hold it by reference until there is a newer one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notices {
    /// With the model that each is for; without one it is for all of them.
    pub(crate) parked: IdMap<Principal, Vec<ParkedFor>>,
    pub(crate) rests: IdMap<Principal, Vec<Rest>>,
    /// The mark of a commitment that was found used up, and until when that counts.
    spent: IdMap<Principal, (u64, u64)>,
}

/// A pause after a rate limit.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    pub(crate) model: Box<str>,
    pub(crate) until_us: u64,
    /// How much of it the provider named; the rest is our own caution.
    pub(crate) named_until_us: u64,
    /// When the provider named it.
    pub(crate) named_us: u64,
}

impl Rest {
    /// When the provider takes requests again, for a core that read the clock at this time. One that read it before another
    /// core noted the limit would report a longer pause than the provider named.
    fn named_end_us(&self, now_us: u64) -> u64 {
        self.named_until_us.saturating_sub(self.named_us.saturating_sub(now_us))
    }
}

impl Notices {
    pub(crate) fn parking(&self, principal: Principal, model: &str) -> Option<Parking> {
        let parked = self.parked.get(&principal)?;
        parked.iter().find(|(of, _)| is_for(of.as_deref(), model)).map(|(_, parking)| *parking)
    }

    fn unpark(&mut self, principal: Principal, model: &str) {
        if let Some(parked) = self.parked.get_mut(&principal) {
            parked.retain(|(of, _)| !is_for(of.as_deref(), model));
            if parked.is_empty() {
                self.parked.remove(&principal);
            }
        }
    }

    pub(crate) fn standing(&self, principal: Principal, model: &str, now_us: u64) -> Availability {
        if let Some(parking) = self.parking(principal, model) {
            // Due for its probe: the caller that claims it may make one call.
            return if parking.probe_at_us > now_us {
                Availability::Parked { us: parking.probe_at_us }
            } else {
                Availability::HalfOpen
            };
        }
        match self.rest(principal, model) {
            Some(rest) if rest.until_us <= now_us => Availability::Open,
            Some(rest) if rest.named_until_us > now_us => {
                Availability::RetryAt { us: rest.named_end_us(now_us) }
            }
            Some(rest) => Availability::Limited { us: rest.until_us },
            None => Availability::Open,
        }
    }

    pub(crate) fn is_commitment_spent(&self, principal: Principal, mark: u64, now_us: u64) -> bool {
        self.spent.get(&principal).is_some_and(|(found, until)| *found == mark && now_us < *until)
    }

    fn rest(&self, principal: Principal, model: &str) -> Option<&Rest> {
        self.rests.get(&principal)?.iter().find(|rest| &*rest.model == model)
    }

    /// Makes room by dropping what is over. What is left over the bound is dropped entirely, since a
    /// forgotten rest costs one refused call.
    fn tidy(&mut self, now_us: u64) {
        if self.rests.len() >= BOARD_NOTICES_MAX {
            self.rests.retain(|_, models| models.iter().any(|rest| rest.until_us > now_us));
        }
        if self.rests.len() >= BOARD_NOTICES_MAX {
            self.rests.clear();
        }
        if self.spent.len() >= BOARD_NOTICES_MAX {
            self.spent.retain(|_, (_, until)| *until > now_us);
        }
        if self.parked.len() >= BOARD_NOTICES_MAX {
            let old = now_us.saturating_sub(10 * micros(PARKED_PROBE_EVERY));
            self.parked.retain(|_, parked| parked.iter().any(|(_, parking)| parking.probe_at_us > old));
        }
    }
}

/// Whether a notice about a principal with `of`, or with every model, applies to this model.
fn is_for(of: Option<&str>, model: &str) -> bool {
    of.is_none_or(|of| of == model)
}

/// The notice board of all cores. It is written when a provider refuses, which is rare; a core
/// that only reads loads one number.
#[derive(Debug, Default)]
pub struct Shared {
    version: AtomicU64,
    notices: Mutex<Arc<Notices>>,
    prefixes: Prefixes,
    creations: Permits<CONTEXT_CREATIONS_MAX>,
    refreshes: Permits<KEEP_ALIVE_RUNNING_MAX>,
    held_prompts: HeldPrompts,
    meters: Meters,
    nodes: NodeMeters,
    limits: Mutex<IdMap<Principal, Vec<ReportedLimits>>>,
    /// The time to the first byte by principal and model, in microseconds, as a core last measured it.
    speeds: Mutex<Speeds>,
    windows: Windows,
    scopes: Scopes,
    /// Where each principal is, for display.
    placed: Mutex<IdMap<Principal, Groups>>,
    paces: Mutex<IdMap<Principal, Arc<Pace>>>,
    /// The live gateways, this one among them: each paces its even share of what was agreed with a provider.
    gateways: Arc<AtomicU64>,
}

/// How near a principal was to its provider's rate limits with one model, and when that was reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedLimits {
    pub upstream_model: Box<str>,
    pub standings: AccountStandings,
    pub reported_unix_ms: u64,
}

impl Shared {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The same for one of several gateways, whose number is followed.
    pub fn among(gateways: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { gateways, ..Self::default() })
    }

    /// Forgets everything recorded against a principal: its owner rotated or verified it.
    pub fn forgive(&self, principal: Principal) {
        self.change(|notices| {
            notices.parked.remove(&principal);
            notices.rests.remove(&principal);
        });
        self.scopes.forgive(principal);
    }

    /// The breakers that a principal meets and that are not closed, the widest first.
    pub fn open_breakers(&self, principal: Principal, now_us: u64) -> Vec<OpenBreaker> {
        let groups = unpoisoned(&self.placed).get(&principal).cloned().unwrap_or_default();
        self.scopes.open_of(&groups, principal, now_us)
    }

    /// The live gateways of one database, this one among them.
    pub fn gateways(&self) -> u64 {
        self.gateways.load(Ordering::Relaxed).max(1)
    }

    pub(crate) const fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// The breakers of a seat that are not its model's alone.
    pub(crate) fn groups(&self, seat: &SeatKey<'_>) -> Groups {
        let groups = self.scopes.groups(seat);
        let mut placed = unpoisoned(&self.placed);
        if placed.len() >= BOARD_PRINCIPALS_MAX && !placed.contains_key(&seat.principal) {
            // It is for display only, and the next look at a seat records it again.
            placed.clear();
        }
        placed.insert(seat.principal, Arc::clone(&groups));
        groups
    }

    /// The turns of a principal within its agreed limits, which all cores share.
    pub(crate) fn pace(&self, seat: &SeatKey<'_>) -> Option<Arc<Pace>> {
        let (limits, gateways) = (*seat.limits?, self.gateways());
        let mut paces = unpoisoned(&self.paces);
        if let Some(pace) = paces.get(&seat.principal).filter(|pace| pace.is_of(&limits, gateways)) {
            return Some(Arc::clone(pace));
        }
        if paces.len() >= BOARD_PRINCIPALS_MAX {
            paces.retain(|_, pace| Arc::strong_count(pace) > 1);
        }
        let pace = Arc::new(Pace::new(limits, gateways));
        paces.insert(seat.principal, Arc::clone(&pace));
        Some(pace)
    }

    /// Who met a breaker of a host or a region, as far as it is recorded.
    pub(crate) fn placed_at(&self, scope: &Arc<Scope>) -> Vec<Principal> {
        let placed = unpoisoned(&self.placed);
        let met = placed.iter().filter(|(_, groups)| groups.iter().any(|one| Arc::ptr_eq(one, scope)));
        met.map(|(principal, _)| *principal).collect()
    }

    /// The turns of a principal as they are recorded, if they are within these limits.
    pub(crate) fn recorded_pace(&self, principal: Principal, limits: &AgreedLimits) -> Option<Arc<Pace>> {
        let gateways = self.gateways();
        unpoisoned(&self.paces).get(&principal).filter(|pace| pace.is_of(limits, gateways)).cloned()
    }

    /// The first notice against a principal with any model, for display.
    pub fn parking(&self, principal: Principal) -> Option<Parking> {
        self.current().parked.get(&principal)?.first().map(|(_, parking)| *parking)
    }

    pub(crate) fn parking_with(&self, principal: Principal, model: &str) -> Option<Parking> {
        self.current().parking(principal, model)
    }

    /// The rate limits that its provider last reported, by model.
    pub fn reported_limits(&self, principal: Principal) -> Vec<ReportedLimits> {
        self.limits().get(&principal).cloned().unwrap_or_default()
    }

    /// Records reported limits for display. Cores call it about once a second for each model.
    pub(crate) fn note_limits(&self, principal: Principal, reported: ReportedLimits) {
        let mut limits = self.limits();
        if limits.len() >= BOARD_NOTICES_MAX && !limits.contains_key(&principal) {
            // It is for display only, and the next answer reports it again.
            limits.clear();
        }
        let of_principal = limits.entry(principal).or_default();
        of_principal.retain(|known| known.upstream_model != reported.upstream_model);
        if of_principal.len() < BOARD_MODELS_MAX {
            of_principal.push(reported);
        }
    }

    /// Records the time to the first byte for display. Cores call it about once a second for each model.
    pub(crate) fn note_speed(&self, principal: Principal, upstream_model: &str, first_byte_us: u64) {
        let mut speeds = self.speeds();
        if speeds.len() >= BOARD_NOTICES_MAX && !speeds.contains_key(&principal) {
            speeds.clear();
        }
        let of_principal = speeds.entry(principal).or_default();
        if let Some((_, newest_us)) = of_principal.iter_mut().find(|(model, _)| **model == *upstream_model) {
            *newest_us = first_byte_us;
        } else if of_principal.len() < BOARD_MODELS_MAX {
            of_principal.push((upstream_model.into(), first_byte_us));
        }
    }

    fn speeds(&self) -> MutexGuard<'_, Speeds> {
        self.speeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits(&self) -> MutexGuard<'_, IdMap<Principal, Vec<ReportedLimits>>> {
        unpoisoned(&self.limits)
    }

    /// What was used of a subscription in each of its windows, as far as this gateway knows.
    pub fn window_use(
        &self,
        id: SubscriptionId,
        windows: &[UsageWindow],
        now_unix_ms: u64,
    ) -> Vec<WindowUse> {
        self.windows.used(id, windows, now_unix_ms)
    }

    /// Counts what was used of a subscription.
    pub fn count_use(&self, id: SubscriptionId, windows: &[UsageWindow], more: WindowUse, now_unix_ms: u64) {
        self.windows.count(id, windows, more, now_unix_ms);
    }

    /// Learns what the books have of each window of a subscription.
    pub fn learn_use(
        &self,
        id: SubscriptionId,
        windows: &[UsageWindow],
        booked: &[WindowUse],
        now_unix_ms: u64,
    ) {
        self.windows.learn(id, windows, booked, now_unix_ms);
    }

    /// The prompt prefixes of a workspace, if any were seen.
    pub fn known_prefixes(&self, workspace: WorkspaceId) -> Option<Arc<PrefixTable>> {
        self.prefixes.known(workspace)
    }

    pub(crate) const fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    /// Room for the creation of one context cache; `None` where as many are created as may be.
    #[must_use = "the room is free again once it is dropped"]
    pub fn begin_context_creation(&self) -> Option<SideRequestPermit> {
        self.creations.take()
    }

    /// Holds a prompt to be sent again; `None` where there is no room for it.
    #[must_use = "the room is free again once it is dropped"]
    pub fn hold_prompt(&self, prompt: RepeatedPrompt) -> Option<HeldPrompt> {
        self.held_prompts.hold(prompt)
    }

    /// Room for one refresh of a cached prefix; `None` where as many run as may.
    #[must_use = "the room is free again once it is dropped"]
    pub fn begin_refresh(&self) -> Option<SideRequestPermit> {
        self.refreshes.take()
    }

    pub(crate) const fn meters(&self) -> &Meters {
        &self.meters
    }

    pub(crate) fn node_meter(&self, node: NodeId) -> Arc<NodeMeter> {
        self.nodes.of(node)
    }

    /// A node said how busy it is, which counts until then.
    pub fn note_node(&self, node: NodeId, report: LoadReport, until_us: u64) {
        self.nodes.note(node, report, until_us);
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn current(&self) -> Arc<Notices> {
        Arc::clone(&self.lock())
    }

    /// Parks a principal, with one model if there is one.
    pub(crate) fn park(
        &self,
        principal: Principal,
        model: Option<&str>,
        cause: FaultClass,
        secret_version: u32,
        now_us: u64,
    ) {
        let probe_at_us = now_us.saturating_add(micros(PARKED_PROBE_EVERY));
        self.change(|notices| {
            notices.tidy(now_us);
            let parked = notices.parked.entry(principal).or_default();
            parked.retain(|(of, _)| model.is_some() && of.as_deref() != model);
            if parked.len() >= BOARD_MODELS_MAX {
                parked.clear();
            }
            parked.push((model.map(Box::from), Parking { cause, probe_at_us, secret_version }));
        });
    }

    pub(crate) fn unpark(&self, principal: Principal, model: &str) {
        self.change(|notices| notices.unpark(principal, model));
    }

    /// Takes the one probe that is due. `false` if another core was first or it is not due.
    pub(crate) fn claim_probe(&self, principal: Principal, model: &str, now_us: u64) -> bool {
        let mut claimed = false;
        self.change(|notices| {
            let mut parked = notices.parked.get_mut(&principal).into_iter().flatten();
            if let Some((_, parking)) = parked.find(|(of, _)| is_for(of.as_deref(), model))
                && parking.probe_at_us <= now_us
            {
                parking.probe_at_us = now_us.saturating_add(micros(PARKED_PROBE_EVERY));
                claimed = true;
            }
        });
        claimed
    }

    pub(crate) fn rest(&self, principal: Principal, model: &str, until_us: u64, is_named: bool, now_us: u64) {
        let until_us = until_us.min(now_us.saturating_add(micros(REST_MAX)));
        // In a storm every refusal names nearly the same time: only a later one is news.
        let current = self.current();
        let known = current.rest(principal, model);
        let known_us = known.map_or(0, |rest| if is_named { rest.named_until_us } else { rest.until_us });
        if known_us.saturating_add(50_000) >= until_us {
            return;
        }
        let named_before = known.map_or((0, 0), |rest| (rest.named_until_us, rest.named_us));
        let (named_until_us, named_us) = if is_named { (until_us, now_us) } else { named_before };
        let rest = Rest {
            model: model.into(),
            until_us: until_us.max(known.map_or(0, |rest| rest.until_us)),
            named_until_us,
            named_us,
        };
        self.change(|notices| {
            notices.tidy(now_us);
            let rests = notices.rests.entry(principal).or_default();
            rests.retain(|rest| rest.until_us > now_us && &*rest.model != model);
            rests.push(rest);
        });
    }

    /// Records for a while that a principal's commitment, by its mark, is used up.
    pub(crate) fn note_spent_commitment(&self, principal: Principal, mark: u64, now_us: u64) {
        let until_us = now_us.saturating_add(micros(COMMITMENT_SPENT_TIME));
        self.change(|notices| {
            notices.tidy(now_us);
            notices.spent.insert(principal, (mark, until_us));
        });
    }

    fn change(&self, edit: impl FnOnce(&mut Notices)) {
        let mut held = self.lock();
        edit(Arc::make_mut(&mut held));
        self.version.fetch_add(1, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Notices>> {
        unpoisoned(&self.notices)
    }
}

/// A value behind a lock. Every edit leaves it whole, so a panic elsewhere does not corrupt it.
fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known without a serving core.
impl AvailabilityView for Shared {
    fn availability(&self, seat: &SeatKey<'_>, now_us: u64) -> Availability {
        let noticed = self.current().standing(seat.principal, seat.model, now_us);
        if noticed != Availability::Open {
            return noticed;
        }
        let (groups, model) = (self.groups(seat), self.scopes.model(seat));
        let breakers = place::breakers(&groups, &model, now_us);
        if !breakers.is_open() {
            return breakers;
        }
        self.pace(seat).and_then(|pace| place::paced(&pace, now_us)).unwrap_or(breakers)
    }

    fn first_byte_us(&self, principal: Principal, upstream_model: &str) -> Option<u64> {
        let speeds = self.speeds();
        let models = speeds.get(&principal)?;
        models.iter().find(|(model, _)| **model == *upstream_model).map(|(_, first_byte_us)| *first_byte_us)
    }

    fn load(&self, principal: Principal, upstream_model: &str, now_us: u64) -> Load {
        self.meters.load(principal, upstream_model, now_us)
    }

    fn node_load(&self, node: NodeId, now_us: u64) -> NodeLoad {
        self.nodes.of(node).load(now_us)
    }

    fn prefix_table(&self, workspace: WorkspaceId, _: u64) -> Option<Arc<PrefixTable>> {
        self.known_prefixes(workspace)
    }

    fn is_commitment_spent(&self, principal: Principal, mark: u64, now_us: u64) -> bool {
        self.current().is_commitment_spent(principal, mark, now_us)
    }

    fn used_up_until(&self, id: SubscriptionId, windows: &[UsageWindow], now_unix_ms: u64) -> Option<u64> {
        self.windows.used_up_until(id, windows, now_unix_ms)
    }
}

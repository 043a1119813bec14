//! One core's board: breakers, load and latency by principal and model, and the tickets that report to them.

use std::cell::{self, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use domain::{
    IdMap, NodeId, Principal, RateLimitStates as AccountStandings, SubscriptionId, UsageWindow, WorkspaceId,
};

use crate::budget::RetryBudget;
use crate::load::{Load, Meter};
use crate::nodes::NodeMeter;
use crate::place::{Place, Trials};
use crate::prefixes::{PrefixTable, PrefixTableCache};
use crate::scope::Scope;
use crate::shared::{Notices, Parking, ReportedLimits, Shared};
use crate::{Availability, AvailabilityView, SeatKey, Verdict};
use domain::limits::{
    BOARD_MODELS_MAX, BOARD_PRINCIPALS_MAX, BOARD_UPSTREAMS_MAX, LIMIT_PAUSE_FIRST, LIMIT_PAUSE_MAX,
    PROVIDER_LIMITS_SHARED_EVERY,
};
use domain::timeline::micros;
use placement::NodeLoad;

/// How busy and how fast a principal is with a model, as this core sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauge {
    pub in_flight: u32,
    /// A moving average of the time to the first byte; zero if nothing was measured yet.
    pub first_byte_us: u64,
}

/// One principal with one model. Tickets hold theirs, so that ending an attempt needs no look-up; a seat with
/// a ticket is not idle, and so is never evicted.
#[derive(Debug)]
struct Seat {
    model: Box<str>,
    /// Its breaker, which all cores share.
    scope: Arc<Scope>,
    gauge: cell::Cell<Gauge>,
    /// The same over all cores.
    meter: Arc<Meter>,
    /// When its provider's rate limits were last shared with all cores.
    limits_shared_us: cell::Cell<u64>,
    /// When its time to the first byte was last shared with all cores.
    speed_shared_us: cell::Cell<u64>,
    /// How often in a row it was limited without a time, and until when it is left alone for the last.
    limited: cell::Cell<(u32, u64)>,
}

impl Seat {
    fn new(model: &str, scope: Arc<Scope>, meter: Arc<Meter>) -> Self {
        Self {
            model: model.into(),
            scope,
            gauge: cell::Cell::default(),
            meter,
            limits_shared_us: cell::Cell::default(),
            speed_shared_us: cell::Cell::default(),
            limited: cell::Cell::default(),
        }
    }

    fn is_idle(&self) -> bool {
        self.gauge.get().in_flight == 0 && self.scope.is_calm()
    }

    fn count(&self, step: impl FnOnce(u32) -> u32) {
        let gauge = self.gauge.get();
        self.gauge.set(Gauge { in_flight: step(gauge.in_flight), ..gauge });
    }

    /// Until when it is left alone after a limit that named no time. What was in flight with the first of
    /// them says nothing new.
    fn limited_until(&self, now_us: u64) -> u64 {
        let (count, until_us) = self.limited.get();
        if now_us < until_us {
            return until_us;
        }
        let pause = micros(LIMIT_PAUSE_FIRST) << count.min(16);
        let until_us = now_us.saturating_add(pause.min(micros(LIMIT_PAUSE_MAX)));
        self.limited.set((count.saturating_add(1), until_us));
        until_us
    }
}

#[derive(Default)]
struct Inside {
    seats: IdMap<Principal, HashMap<Box<str>, Rc<Seat>>>,
    /// The seat that was found last, since a request looks the same one up several times.
    last: RefCell<Option<(Principal, Rc<Seat>)>>,
    places: IdMap<Principal, Rc<Place>>,
    nodes: IdMap<NodeId, Arc<NodeMeter>>,
    budgets: HashMap<Box<str>, RetryBudget>,
    notices: Arc<Notices>,
    notices_version: u64,
}

impl Inside {
    fn find(&self, principal: Principal, model: &str) -> Option<Rc<Seat>> {
        let mut last = self.last.borrow_mut();
        if let Some((known, seat)) = &*last
            && *known == principal
            && *seat.model == *model
        {
            return Some(Rc::clone(seat));
        }
        let seat = self.seats.get(&principal)?.get(model)?;
        *last = Some((principal, Rc::clone(seat)));
        Some(Rc::clone(seat))
    }
}

/// The board of one core. Borrows never last over an await: every method is short and returns.
pub struct Cell {
    inside: RefCell<Inside>,
    prefixes: RefCell<PrefixTableCache>,
    shared: Arc<Shared>,
    cores: u32,
}

impl Cell {
    /// `cores` is the number of serving cores, which share the free retries of an upstream.
    pub fn new(shared: Arc<Shared>, cores: u32) -> Rc<Self> {
        let inside =
            Inside { notices: shared.current(), notices_version: shared.version(), ..Inside::default() };
        Rc::new(Self { inside: RefCell::new(inside), prefixes: RefCell::default(), shared, cores })
    }

    /// The prompt prefixes of a workspace, never those of another.
    pub fn prefixes(&self, workspace: WorkspaceId, now_us: u64) -> Arc<PrefixTable> {
        self.prefixes.borrow_mut().of(self.shared.prefixes(), workspace, now_us)
    }

    /// The state that all cores share, for callers that forgive a principal.
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn parking(&self, principal: Principal, upstream_model: &str) -> Option<Parking> {
        self.shared.parking_with(principal, upstream_model)
    }

    pub fn gauge(&self, principal: Principal, upstream_model: &str) -> Gauge {
        let inside = self.inside.borrow();
        inside.find(principal, upstream_model).map(|seat| seat.gauge.get()).unwrap_or_default()
    }

    /// Permission to call a seat with a request of about so many tokens. The ticket counts as load until it is
    /// dropped.
    ///
    /// # Errors
    /// The standing that forbids it now. With `is_last` an open breaker is ignored: with no
    /// other seat left, a client is better served by an attempt than by a refusal, and the retry
    /// budget still bounds the traffic.
    pub fn claim(
        self: &Rc<Self>,
        seat: &SeatKey<'_>,
        tokens: u64,
        is_last: bool,
        now_us: u64,
    ) -> Result<Ticket, Availability> {
        self.follow_notices();
        let (principal, model) = (seat.principal, seat.model);
        let parking = self.inside.borrow().notices.parking(principal, model);
        if parking.is_some_and(|parking| parking.secret_version != seat.secret_version) {
            self.shared.unpark(principal, model);
        }
        let standing = self.availability(seat, now_us);
        let is_probe = self.is_probe(principal, model);
        match standing {
            Availability::Open => {}
            Availability::HalfOpen if is_probe => {
                if !self.shared.claim_probe(principal, model, now_us) {
                    return Err(self.availability(seat, now_us));
                }
            }
            Availability::HalfOpen => {}
            caution if is_last && caution.is_caution() => {}
            closed => return Err(closed),
        }
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let (place, held) = (self.place(seat), self.seat(seat));
        let trials = place.enter(&held.scope, is_last, now_us)?;
        if let Some(pace) = &place.pace
            && !pace.take(u64::from(tokens), now_us)
        {
            place.release(&held.scope, trials);
            let ready_us = pace.ready_us(u64::from(tokens), now_us);
            return Err(Availability::Paced { us: ready_us.max(now_us + 1) });
        }
        held.count(|in_flight| in_flight.saturating_add(1));
        held.meter.enter();
        let ahead = place.node.as_ref().map_or(0, |node| node.enter());
        Ok(Ticket {
            seat: held,
            place,
            entered_us: now_us,
            tokens,
            secret_version: seat.secret_version,
            trials,
            is_probe,
            has_verdict: false,
            ahead,
        })
    }

    /// Records how near a principal is to its rate limits, as its provider reported with an
    /// answer. A request that would be refused isn't sent: if no request is left, the principal
    /// rests until one is available again.
    pub fn record_limits(
        &self,
        principal: Principal,
        upstream_model: &str,
        standings: AccountStandings,
        now_us: u64,
        now_unix_ms: u64,
    ) {
        let Some(seat) = self.inside.borrow().find(principal, upstream_model) else { return };
        if let Some(requests) = standings.requests.filter(|requests| requests.remaining == 0) {
            let one_us = requests.reset_ms.saturating_mul(1_000) / requests.limit.max(1);
            self.shared.rest(principal, upstream_model, now_us.saturating_add(one_us), true, now_us);
        }
        if let Some(tokens) = standings.tokens.filter(|tokens| tokens.remaining == 0) {
            // A hundredth of the limit is what the next request is taken to need.
            let some_us = tokens.reset_ms.saturating_mul(1_000) / 100;
            self.shared.rest(principal, upstream_model, now_us.saturating_add(some_us), true, now_us);
        }
        if now_us >= seat.limits_shared_us.get() + micros(PROVIDER_LIMITS_SHARED_EVERY)
            || seat.limits_shared_us.get() == 0
        {
            seat.limits_shared_us.set(now_us);
            let upstream_model = upstream_model.into();
            let reported = ReportedLimits { upstream_model, standings, reported_unix_ms: now_unix_ms };
            self.shared.note_limits(principal, reported);
        }
    }

    /// A first attempt goes to this upstream, which adds to its retry budget.
    pub fn first_try(&self, upstream: &str, now_us: u64) {
        self.with_budget(upstream, now_us, RetryBudget::first_try);
    }

    /// Takes a retry from the upstream's budget, or refuses it.
    pub fn take_retry(&self, upstream: &str, now_us: u64) -> bool {
        self.with_budget(upstream, now_us, |budget| budget.take_retry(now_us))
    }

    fn with_budget<T>(&self, upstream: &str, now_us: u64, act: impl FnOnce(&mut RetryBudget) -> T) -> T {
        let budgets = &mut self.inside.borrow_mut().budgets;
        if let Some(budget) = budgets.get_mut(upstream) {
            return act(budget);
        }
        if budgets.len() >= BOARD_UPSTREAMS_MAX {
            // Forgetting gives each upstream one second's free retries again,
            // which is within the bound's spirit.
            budgets.clear();
        }
        act(budgets.entry(upstream.into()).or_insert_with(|| RetryBudget::new(self.cores, now_us)))
    }

    fn is_probe(&self, principal: Principal, model: &str) -> bool {
        self.inside.borrow().notices.parking(principal, model).is_some()
    }

    fn place(&self, seat: &SeatKey<'_>) -> Rc<Place> {
        let places = &mut self.inside.borrow_mut().places;
        let gateways = self.shared.gateways();
        if let Some(place) = places.get(&seat.principal).filter(|place| place.is_of(seat, gateways)) {
            return Rc::clone(place);
        }
        if places.len() >= BOARD_PRINCIPALS_MAX {
            // They are found again in what all cores share.
            places.clear();
        }
        let place = Rc::new(Place::new(&self.shared, seat));
        places.insert(seat.principal, Rc::clone(&place));
        place
    }

    fn seat(&self, key: &SeatKey<'_>) -> Rc<Seat> {
        let inside = &mut *self.inside.borrow_mut();
        if let Some(seat) = inside.find(key.principal, key.model) {
            return seat;
        }
        // Eviction may drop the seat that was found last.
        inside.last.take();
        let seats = &mut inside.seats;
        if seats.len() >= BOARD_PRINCIPALS_MAX && !seats.contains_key(&key.principal) {
            seats.retain(|_, models| models.values().any(|seat| !seat.is_idle()));
        }
        let models = seats.entry(key.principal).or_default();
        if models.len() >= BOARD_MODELS_MAX {
            models.retain(|_, seat| !seat.is_idle());
        }
        let meter = self.shared.meters().of(key.principal, key.model);
        let seat = Rc::new(Seat::new(key.model, self.shared.scopes().model(key), meter));
        models.insert(key.model.into(), Rc::clone(&seat));
        seat
    }

    /// A principal's commitment, by its mark, is used up; all cores see it.
    pub fn note_spent_commitment(&self, principal: Principal, mark: u64, now_us: u64) {
        if !self.is_commitment_spent(principal, mark, now_us) {
            self.shared.note_spent_commitment(principal, mark, now_us);
        }
    }

    fn follow_notices(&self) {
        let version = self.shared.version();
        let mut inside = self.inside.borrow_mut();
        if inside.notices_version != version {
            inside.notices = self.shared.current();
            inside.notices_version = version;
        }
    }
}

impl AvailabilityView for Cell {
    fn availability(&self, seat: &SeatKey<'_>, now_us: u64) -> Availability {
        self.follow_notices();
        let noticed = self.inside.borrow().notices.standing(seat.principal, seat.model, now_us);
        let are_any_open = self.shared.scopes().are_any_open();
        if noticed != Availability::Open || (!are_any_open && seat.limits.is_none()) {
            return noticed;
        }
        let place = self.place(seat);
        if !are_any_open {
            return place.paced(now_us).unwrap_or(Availability::Open);
        }
        place.standing(&self.seat(seat).scope, now_us)
    }

    fn first_byte_us(&self, principal: Principal, upstream_model: &str) -> Option<u64> {
        let measured = Some(self.gauge(principal, upstream_model).first_byte_us).filter(|us| *us > 0);
        measured.or_else(|| self.shared.first_byte_us(principal, upstream_model))
    }

    /// A core that has called a seat holds its counters, and asks for no lock.
    fn load(&self, principal: Principal, upstream_model: &str, now_us: u64) -> Load {
        match self.inside.borrow().find(principal, upstream_model) {
            Some(seat) => seat.meter.load(now_us),
            None => self.shared.load(principal, upstream_model, now_us),
        }
    }

    /// A core asks for a lock only once for each node.
    fn node_load(&self, node: NodeId, now_us: u64) -> NodeLoad {
        let nodes = &mut self.inside.borrow_mut().nodes;
        if let Some(meter) = nodes.get(&node) {
            return meter.load(now_us);
        }
        if nodes.len() >= BOARD_PRINCIPALS_MAX {
            nodes.clear();
        }
        nodes.entry(node).or_insert_with(|| self.shared.node_meter(node)).load(now_us)
    }

    fn prefix_table(&self, workspace: WorkspaceId, now_us: u64) -> Option<Arc<PrefixTable>> {
        Some(self.prefixes(workspace, now_us))
    }

    fn is_commitment_spent(&self, principal: Principal, mark: u64, now_us: u64) -> bool {
        self.follow_notices();
        self.inside.borrow().notices.is_commitment_spent(principal, mark, now_us)
    }

    fn used_up_until(&self, id: SubscriptionId, windows: &[UsageWindow], now_unix_ms: u64) -> Option<u64> {
        self.shared.used_up_until(id, windows, now_unix_ms)
    }
}

domain::brief_debug!(Cell as "Cell");

/// One attempt in progress. Dropped without a verdict, it means that nothing
/// was learnt: the client went away.
#[derive(Debug)]
pub struct Ticket {
    seat: Rc<Seat>,
    place: Rc<Place>,
    entered_us: u64,
    /// What it took of the agreed tokens.
    tokens: u32,
    secret_version: u32,
    trials: Trials,
    is_probe: bool,
    has_verdict: bool,
    /// The requests at its node that waited for their first token before it.
    ahead: u32,
}

impl Ticket {
    /// Reports how the attempt ended, or how it is so far: a stream is healthy at its
    /// first byte and may break later.
    pub fn report(&mut self, verdict: Verdict, now_us: u64) {
        let is_first = !std::mem::replace(&mut self.has_verdict, true);
        if let Some(node) = self.place.node.as_ref().filter(|_| is_first) {
            node.answer();
            if let Verdict::Healthy { first_byte_us } = verdict {
                node.first_token(first_byte_us, self.ahead, now_us);
            }
        }
        let is_answered = matches!(verdict, Verdict::Healthy { .. } | Verdict::Neutral);
        if is_answered && self.is_probe {
            self.place.shared.unpark(self.place.principal, &self.seat.model);
            self.is_probe = false;
        }
        self.note(verdict, now_us);
        let scopes = self.place.scopes(&self.seat.scope).map(|(_, scope)| scope);
        if let Verdict::Unhealthy | Verdict::Unreachable = verdict {
            let is_unreachable = verdict == Verdict::Unreachable;
            scopes.for_each(|scope| {
                scope.fail_for(self.place.principal, &self.seat.model, is_unreachable, now_us);
            });
            return;
        }
        // It answered, so whatever it refused, it is not down.
        scopes.for_each(|scope| scope.succeed(self.entered_us, now_us));
        if let Verdict::Healthy { first_byte_us } = verdict {
            self.seat.meter.first_byte(first_byte_us, now_us);
            let gauge = self.seat.gauge.get();
            let first_byte_us = average(gauge.first_byte_us, first_byte_us);
            self.seat.gauge.set(Gauge { first_byte_us, ..gauge });
            self.seat.limited.set((0, 0));
            self.share_speed(first_byte_us, now_us);
        }
    }

    /// Records what all cores must see at once.
    fn note(&self, verdict: Verdict, now_us: u64) {
        let Place { shared, principal, .. } = &*self.place;
        let (principal, model) = (*principal, &*self.seat.model);
        match verdict {
            Verdict::Cooldown { until_us } => shared.rest(principal, model, until_us, true, now_us),
            Verdict::Limited => {
                let until_us = self.seat.limited_until(now_us);
                shared.rest(principal, model, until_us, false, now_us);
            }
            Verdict::Park { cause } => {
                shared.park(principal, None, cause, self.secret_version, now_us);
            }
            Verdict::ParkModel { cause } => {
                shared.park(principal, Some(model), cause, self.secret_version, now_us);
            }
            Verdict::Healthy { .. } | Verdict::Neutral | Verdict::Unhealthy | Verdict::Unreachable => {}
        }
    }

    fn share_speed(&self, first_byte_us: u64, now_us: u64) {
        let shared_us = self.seat.speed_shared_us.get();
        if shared_us == 0 || now_us >= shared_us + micros(PROVIDER_LIMITS_SHARED_EVERY) {
            self.seat.speed_shared_us.set(now_us.max(1));
            self.place.shared.note_speed(self.place.principal, &self.seat.model, first_byte_us);
        }
    }

    /// The whole answer arrived, at once and after so long.
    pub fn took(&self, whole_us: u64, now_us: u64) {
        self.seat.meter.whole(whole_us, now_us);
        if let Some(node) = &self.place.node {
            node.whole(whole_us);
        }
    }

    /// Reports the tokens that the attempt used, in place of those that it was taken to need.
    pub fn used(&mut self, tokens: u64, now_us: u64) {
        if let Some(pace) = &self.place.pace {
            pace.correct(u64::from(self.tokens), tokens, now_us);
            self.tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.seat.count(|in_flight| in_flight.saturating_sub(1));
        self.seat.meter.leave();
        if let Some(node) = &self.place.node {
            node.leave();
            if !self.has_verdict {
                node.answer();
            }
        }
        if let Some(pace) = &self.place.pace {
            pace.end();
        }
        if !self.has_verdict {
            self.place.release(&self.seat.scope, self.trials);
        }
    }
}

/// Moves by an eighth of the new value, so that one slow answer does not move a route.
const fn average(old: u64, new: u64) -> u64 {
    if old == 0 { new } else { old - old / 8 + new / 8 }
}

//! The endpoints of a pool, and the choice among them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use placement::{CachedAt, NodeLoad, PrefixHolders, expected, mix, order, usual_us};
use tasks::Task;
use world::World;

use crate::endpoint::{Endpoint, Visit};
use crate::limits::{ENDPOINTS_MAX, PROMPT_BYTES_PER_TOKEN};
use crate::prefix::Question;
use crate::settings::Shedding;

/// The endpoints, each with the task that polls it.
pub(crate) struct Pool {
    pub world: World,
    endpoints: RefCell<BTreeMap<SocketAddr, (Rc<Endpoint>, Task)>>,
    holders: PrefixHolders,
    shedding: Shedding,
    /// How many endpoints may serve instead of the first one.
    fallbacks: usize,
}

/// What is asked of the pool for one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// The endpoints that the proxy limits the choice to.
    pub subset: Option<Vec<Allowed>>,
    /// It is refused rather than that it waits.
    pub is_sheddable: bool,
}

/// An endpoint, or all ports of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowed {
    ip: IpAddr,
    port: Option<u16>,
}

/// Why no endpoint was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is none that answers, among those that are allowed.
    NoneReady,
    /// All are so busy that what may be shed is.
    Busy,
}

/// The choice: a request that is at the first endpoint from now on, and the text for the proxy.
#[derive(Debug)]
pub(crate) struct Choice {
    pub visit: Visit,
    /// The endpoints in the order in which they are to be tried.
    pub endpoints: String,
}

impl Allowed {
    /// Reads `ip:port` or `ip`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Self { ip: address.ip(), port: Some(address.port()) });
        }
        text.parse().ok().map(|ip| Self { ip, port: None })
    }

    fn includes(&self, address: SocketAddr) -> bool {
        self.ip == address.ip() && self.port.is_none_or(|port| port == address.port())
    }
}

impl Pool {
    pub(crate) fn new(world: World, shedding: Shedding, fallbacks: usize) -> Self {
        let holders = PrefixHolders::default();
        Self { world, endpoints: RefCell::default(), holders, shedding, fallbacks }
    }

    fn now_us(&self) -> u64 {
        self.world.clock.monotonic_us()
    }

    /// Takes these endpoints in place of those that there were. What is known of those that stay is kept.
    pub(crate) fn replace(&self, wanted: &BTreeSet<SocketAddr>, mut poll: impl FnMut(Rc<Endpoint>) -> Task) {
        let mut endpoints = self.endpoints.borrow_mut();
        endpoints.retain(|address, _| {
            let stays = wanted.contains(address);
            if !stays {
                tracing::info!(endpoint = %address, "left the pool");
            }
            stays
        });
        for address in wanted.iter().take(ENDPOINTS_MAX) {
            endpoints.entry(*address).or_insert_with(|| {
                tracing::info!(endpoint = %address, "joined the pool");
                let endpoint = Rc::new(Endpoint::new(*address));
                (Rc::clone(&endpoint), poll(endpoint))
            });
        }
    }

    /// How many endpoints it has, and how many of them are ready.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let (endpoints, now_us) = (self.endpoints.borrow(), self.now_us());
        let ready = endpoints.values().filter(|(endpoint, _)| endpoint.is_ready(now_us)).count();
        (endpoints.len(), ready)
    }

    /// Whether each endpoint was polled once.
    pub(crate) fn is_polled(&self) -> bool {
        self.endpoints.borrow().values().all(|(endpoint, _)| endpoint.is_polled())
    }

    /// Chooses the endpoint where the first token is expected soonest.
    ///
    /// # Errors
    /// None is ready, or the request is shed.
    pub(crate) fn choose(&self, wish: &Wish, question: &Question) -> Result<Choice, Refused> {
        let now_us = self.now_us();
        let ready = self.ready(wish, now_us);
        if ready.is_empty() {
            return Err(Refused::NoneReady);
        }
        if wish.is_sheddable && ready.iter().all(|endpoint| self.shedding.is_full(endpoint.report(now_us))) {
            return Err(Refused::Busy);
        }
        let sorted = self.arrange(ready, question, now_us);
        let texts: Vec<String> =
            sorted.iter().take(1 + self.fallbacks).map(|endpoint| endpoint.address.to_string()).collect();
        let first = sorted.into_iter().next().ok_or(Refused::NoneReady)?;
        self.note_sent(&first, question, now_us);
        Ok(Choice { visit: Visit::begin(first, now_us), endpoints: texts.join(",") })
    }

    fn ready(&self, wish: &Wish, now_us: u64) -> Vec<Rc<Endpoint>> {
        let is_allowed = |address: SocketAddr| {
            wish.subset.as_ref().is_none_or(|subset| subset.iter().any(|allowed| allowed.includes(address)))
        };
        let endpoints = self.endpoints.borrow();
        let ready = endpoints.values().map(|(endpoint, _)| endpoint);
        ready.filter(|one| one.is_ready(now_us) && is_allowed(one.address)).cloned().collect()
    }

    /// The soonest first, as the gateway's placement has it.
    fn arrange(&self, ready: Vec<Rc<Endpoint>>, question: &Question, now_us: u64) -> Vec<Rc<Endpoint>> {
        let ends: Vec<(u64, u64)> =
            question.ends.iter().map(|(end, bytes)| (*end, bytes / PROMPT_BYTES_PER_TOKEN)).collect();
        let cached = CachedAt::of(&ends, &self.holders, now_us / 1_000_000);
        let has_adapter =
            |one: &Endpoint| question.model.as_ref().is_some_and(|model| one.has_adapter(model, now_us));
        let is_adapter = ready.iter().any(|one| has_adapter(one));
        let load = |one: &Rc<Endpoint>| NodeLoad {
            cached_tokens: cached.length(one.hash),
            lacks_adapter: is_adapter && !has_adapter(one),
            ..one.load(now_us)
        };
        let loads: Vec<NodeLoad> = ready.iter().map(load).collect();
        let usual_us = usual_us(loads.iter().copied());
        let prompt = (question.prompt_bytes / PROMPT_BYTES_PER_TOKEN).max(1);
        let times: Vec<_> = loads.iter().map(|load| expected(prompt, load, usual_us)).collect();
        let soonest_us = times.iter().map(placement::Expected::total_us).min().unwrap_or(0);
        // Requests with the same beginning share a key, so that pickers that know nothing of each other choose the same endpoint.
        let key = ends.first().map_or_else(|| mix(self.world.random.next_u64()), |(head, _)| *head);
        let mut keyed: Vec<_> = times
            .iter()
            .zip(ready)
            .map(|(time, one)| (order(time, soonest_us, 0, (key, one.hash)), one))
            .collect();
        keyed.sort_by_key(|(key, _)| *key);
        keyed.into_iter().map(|(_, one)| one).collect()
    }

    fn note_sent(&self, endpoint: &Rc<Endpoint>, question: &Question, now_us: u64) {
        for (end, _) in &question.ends {
            self.holders.note(*end, endpoint.hash, now_us / 1_000_000);
        }
        // It loads an adapter that others have.
        if let Some(model) = &question.model {
            let others = self.endpoints.borrow();
            if others.values().any(|(other, _)| other.has_adapter(model, now_us)) {
                endpoint.note_adapter(model, now_us);
            }
        }
    }

    /// Another endpoint served than the first one.
    pub(crate) fn served_elsewhere(&self, address: SocketAddr, question: &Question) -> Option<Visit> {
        let endpoint = self.endpoints.borrow().get(&address).map(|(endpoint, _)| Rc::clone(endpoint))?;
        let now_us = self.now_us();
        self.note_sent(&endpoint, question, now_us);
        Some(Visit::begin(endpoint, now_us))
    }
}

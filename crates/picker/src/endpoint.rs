//! What is known of one endpoint: a model server of the pool, by its address.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use placement::metrics::ServerLoad;
use placement::{LoadReport, NodeLoad, mix};

use crate::limits::{ADAPTER_HELD_TIME_MAX, ADAPTERS_MAX};

/// Of an average, the share of what is new: one in so many.
const AVERAGED: u64 = 8;

/// A model server.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub address: SocketAddr,
    /// By which the prefixes that it was sent are remembered; every picker computes the same.
    pub hash: u64,
    /// Until when it counts as ready: it answered lately.
    ready_until_us: Cell<u64>,
    report: Cell<Option<(LoadReport, u64)>>,
    in_flight: Cell<u32>,
    unanswered: Cell<u32>,
    alone_us: Cell<u64>,
    whole_us: Cell<u64>,
    /// The adapters that it had, and until when that counts.
    adapters: RefCell<BTreeMap<String, u64>>,
    /// It was polled once, whatever came of it.
    is_polled: Cell<bool>,
}

impl Endpoint {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let bits = match address.ip() {
            std::net::IpAddr::V4(ip) => u64::from(ip.to_bits()),
            std::net::IpAddr::V6(ip) => {
                let [high, low] = [ip.to_bits() >> 64, ip.to_bits() & u128::from(u64::MAX)];
                mix(u64::try_from(high).unwrap_or(0)) ^ u64::try_from(low).unwrap_or(0)
            }
        };
        Self {
            address,
            hash: mix(mix(bits) ^ u64::from(address.port())),
            ready_until_us: Cell::new(0),
            report: Cell::new(None),
            in_flight: Cell::new(0),
            unanswered: Cell::new(0),
            alone_us: Cell::new(0),
            whole_us: Cell::new(0),
            adapters: RefCell::default(),
            is_polled: Cell::new(false),
        }
    }

    pub(crate) fn is_ready(&self, now_us: u64) -> bool {
        self.ready_until_us.get() > now_us
    }

    pub(crate) fn is_polled(&self) -> bool {
        self.is_polled.get()
    }

    /// It answered, with what it said of its load if it says anything.
    pub(crate) fn note_answer(
        &self,
        load: Option<ServerLoad>,
        adapters: &[String],
        now_us: u64,
        until_us: u64,
    ) {
        self.is_polled.set(true);
        self.ready_until_us.set(until_us);
        let in_flight_then = self.in_flight.get();
        self.report.set(load.map(|ServerLoad { running, waiting, kv_permille, token_us }| {
            (LoadReport { running, waiting, kv_permille, token_us, in_flight_then }, until_us)
        }));
        for adapter in adapters {
            self.note_adapter(adapter, now_us);
        }
    }

    /// It did not answer. Where nothing listens, it is not ready from now on.
    pub(crate) fn note_silence(&self, nothing_listens: bool) {
        self.is_polled.set(true);
        if nothing_listens {
            self.ready_until_us.set(0);
        }
    }

    pub(crate) fn note_adapter(&self, name: &str, now_us: u64) {
        let held_us = u64::try_from(ADAPTER_HELD_TIME_MAX.as_micros()).unwrap_or(u64::MAX);
        let mut adapters = self.adapters.borrow_mut();
        if adapters.len() >= ADAPTERS_MAX {
            adapters.retain(|_, until_us| *until_us > now_us);
        }
        if adapters.len() < ADAPTERS_MAX || adapters.contains_key(name) {
            adapters.insert(name.to_owned(), now_us.saturating_add(held_us));
        }
    }

    pub(crate) fn has_adapter(&self, name: &str, now_us: u64) -> bool {
        self.adapters.borrow().get(name).is_some_and(|until_us| *until_us > now_us)
    }

    pub(crate) fn report(&self, now_us: u64) -> Option<LoadReport> {
        self.report.get().filter(|(_, until_us)| *until_us > now_us).map(|(report, _)| report)
    }

    /// Its load, without what depends on the request.
    pub(crate) fn load(&self, now_us: u64) -> NodeLoad {
        let measured = |cell: &Cell<u64>| Some(cell.get()).filter(|us| *us > 0);
        NodeLoad {
            in_flight: self.in_flight.get(),
            unanswered: self.unanswered.get(),
            alone_us: measured(&self.alone_us),
            whole_us: measured(&self.whole_us),
            report: self.report(now_us),
            ..NodeLoad::default()
        }
    }
}

/// A request at an endpoint, from the choice until its stream ends.
#[derive(Debug)]
pub(crate) struct Visit {
    endpoint: Rc<Endpoint>,
    began_us: u64,
    /// Requests that waited there for their first token when it came.
    ahead: u32,
    is_answered: bool,
}

impl Visit {
    pub(crate) fn begin(endpoint: Rc<Endpoint>, now_us: u64) -> Self {
        let ahead = endpoint.unanswered.get();
        endpoint.in_flight.set(endpoint.in_flight.get().saturating_add(1));
        endpoint.unanswered.set(ahead.saturating_add(1));
        Self { endpoint, began_us: now_us, ahead, is_answered: false }
    }

    pub(crate) const fn endpoint(&self) -> &Rc<Endpoint> {
        &self.endpoint
    }

    /// The first piece of its answer came. An error says nothing of the endpoint's speed.
    pub(crate) fn answered(&mut self, is_success: bool, now_us: u64) {
        if std::mem::replace(&mut self.is_answered, true) {
            return;
        }
        self.endpoint.unanswered.set(self.endpoint.unanswered.get().saturating_sub(1));
        if is_success {
            let took_us = now_us.saturating_sub(self.began_us);
            average(&self.endpoint.alone_us, took_us / u64::from(self.ahead).saturating_add(1));
        }
    }

    /// The whole answer came.
    pub(crate) fn ended(&self, is_success: bool, now_us: u64) {
        if is_success {
            average(&self.endpoint.whole_us, now_us.saturating_sub(self.began_us));
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let endpoint = &self.endpoint;
        endpoint.in_flight.set(endpoint.in_flight.get().saturating_sub(1));
        if !self.is_answered {
            endpoint.unanswered.set(endpoint.unanswered.get().saturating_sub(1));
        }
    }
}

fn average(of: &Cell<u64>, new: u64) {
    let old = of.get();
    let next = if old == 0 { new } else { old - old / AVERAGED + new / AVERAGED };
    of.set(next.max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_counts_from_the_choice_to_the_end_and_measures() {
        let endpoint = Rc::new(Endpoint::new("10.0.0.1:8000".parse().unwrap()));
        let counts = || (endpoint.load(0).in_flight, endpoint.load(0).unanswered);
        let mut first = Visit::begin(Rc::clone(&endpoint), 1_000);
        let mut second = Visit::begin(Rc::clone(&endpoint), 1_000);
        assert_eq!(counts(), (2, 2));
        second.answered(true, 401_000);
        second.answered(true, 901_000);
        assert_eq!((counts(), endpoint.load(0).alone_us), ((2, 1), Some(200_000)), "half of it was the wait");
        first.answered(false, 2_000);
        first.ended(false, 2_000);
        assert_eq!(
            (counts(), endpoint.load(0).alone_us, endpoint.load(0).whole_us),
            ((2, 0), Some(200_000), None)
        );
        second.ended(true, 1_001_000);
        drop((first, second, Visit::begin(Rc::clone(&endpoint), 0)));
        assert_eq!((counts(), endpoint.load(0).whole_us), ((0, 0), Some(1_000_000)));
    }

    #[test]
    fn readiness_and_reports_run_out() {
        let endpoint = Endpoint::new("[fd00::1]:8000".parse().unwrap());
        assert!(!endpoint.is_ready(0) && !endpoint.is_polled());
        let load = ServerLoad { running: 3, waiting: 1, kv_permille: Some(500), token_us: None };
        endpoint.note_answer(Some(load), &["sql".to_owned()], 100, 1_000);
        assert!(endpoint.is_ready(999) && !endpoint.is_ready(1_000));
        assert_eq!(
            (endpoint.report(999).map(|report| report.waiting), endpoint.report(1_000)),
            (Some(1), None)
        );
        endpoint.note_silence(false);
        assert!(endpoint.is_ready(999), "one late answer");
        endpoint.note_silence(true);
        assert!(!endpoint.is_ready(999), "nothing listens");
        let held_us = u64::try_from(ADAPTER_HELD_TIME_MAX.as_micros()).unwrap();
        assert!(endpoint.has_adapter("sql", held_us) && !endpoint.has_adapter("sql", 100 + held_us));
        assert!(!endpoint.has_adapter("other", 200));
    }

    #[test]
    fn adapters_are_bounded() {
        let endpoint = Endpoint::new("10.0.0.1:8000".parse().unwrap());
        for number in 0..2 * ADAPTERS_MAX {
            endpoint.note_adapter(&format!("adapter-{number}"), 0);
        }
        assert_eq!(endpoint.adapters.borrow().len(), ADAPTERS_MAX);
        endpoint.note_adapter("late", u64::MAX / 2);
        assert!(endpoint.has_adapter("late", u64::MAX / 2), "old ones make room");
    }
}

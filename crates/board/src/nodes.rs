//! How busy each node is, with all of its models and over all cores: what this gateway has there, what was measured, and what
//! the node said last. Cores write counters without a lock; reports come from the control plane, and rebuild no snapshot.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::limits::BOARD_PRINCIPALS_MAX;
use domain::timeline::micros;
use domain::{IdMap, NodeId};
use placement::{LoadReport, NodeLoad};

use crate::limits::NODE_PACE_LIFE;

/// One of the new value in so many moves an average.
const AVERAGED: u64 = 8;
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u32 = (1 << COUNT_BITS) - 1;
/// A KV cache of which the node doesn't say how full it is.
const KV_UNKNOWN: u64 = 0xffff;

/// The counters of one node.
#[derive(Debug, Default)]
pub(crate) struct NodeMeter {
    in_flight: AtomicU32,
    unanswered: AtomicU32,
    /// Averages, zero if nothing was measured.
    alone_us: AtomicU64,
    /// When the first one was measured last.
    paced_at_us: AtomicU64,
    whole_us: AtomicU64,
    /// Running, waiting and the KV cache of the last report, in one number.
    report: AtomicU64,
    /// Of the last report; zero if it didn't say.
    token_us: AtomicU32,
    in_flight_then: AtomicU32,
    /// Until when the report counts.
    reported_until_us: AtomicU64,
}

impl NodeMeter {
    /// A request is sent there; returns how many wait for their first token before it.
    pub(crate) fn enter(&self) -> u32 {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.unanswered.fetch_add(1, Ordering::Relaxed)
    }

    /// It has its first token, or was refused.
    pub(crate) fn answer(&self) {
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// How long a first token took, with so many requests ahead.
    pub(crate) fn first_token(&self, took_us: u64, ahead: u32, now_us: u64) {
        if !self.is_paced(now_us) {
            self.alone_us.store(0, Ordering::Relaxed);
        }
        self.paced_at_us.store(now_us, Ordering::Relaxed);
        average(&self.alone_us, took_us / u64::from(ahead).saturating_add(1));
    }

    /// Whether its pace still counts. A node that was slow once gets no requests that could show that it isn't any more, so a
    /// pace ends by itself.
    fn is_paced(&self, now_us: u64) -> bool {
        now_us < self.paced_at_us.load(Ordering::Relaxed).saturating_add(micros(NODE_PACE_LIFE))
    }

    pub(crate) fn whole(&self, took_us: u64) {
        average(&self.whole_us, took_us);
    }

    fn note(&self, latest: LoadReport, until_us: u64) {
        let LoadReport { running, waiting, kv_permille, token_us, .. } = latest;
        let kv = kv_permille.map_or(KV_UNKNOWN, |used| u64::from(used.min(1_000)));
        let (running, waiting) = (u64::from(running.min(COUNT_MASK)), u64::from(waiting.min(COUNT_MASK)));
        self.in_flight_then.store(self.in_flight.load(Ordering::Relaxed), Ordering::Relaxed);
        self.token_us.store(token_us.unwrap_or(0), Ordering::Relaxed);
        self.report.store(running << (COUNT_BITS + 16) | waiting << 16 | kv, Ordering::Relaxed);
        self.reported_until_us.store(until_us, Ordering::Relaxed);
    }

    fn report(&self, now_us: u64) -> Option<LoadReport> {
        if self.reported_until_us.load(Ordering::Relaxed) <= now_us {
            return None;
        }
        let packed = self.report.load(Ordering::Relaxed);
        let count = |shift: u32| u32::try_from(packed >> shift & u64::from(COUNT_MASK)).unwrap_or(0);
        Some(LoadReport {
            running: count(COUNT_BITS + 16),
            waiting: count(16),
            kv_permille: u16::try_from(packed & KV_UNKNOWN).ok().filter(|kv| u64::from(*kv) != KV_UNKNOWN),
            token_us: Some(self.token_us.load(Ordering::Relaxed)).filter(|us| *us > 0),
            in_flight_then: self.in_flight_then.load(Ordering::Relaxed),
        })
    }

    pub(crate) fn load(&self, now_us: u64) -> NodeLoad {
        let measured = |average: &AtomicU64| Some(average.load(Ordering::Relaxed)).filter(|us| *us > 0);
        NodeLoad {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            unanswered: self.unanswered.load(Ordering::Relaxed),
            alone_us: measured(&self.alone_us).filter(|_| self.is_paced(now_us)),
            whole_us: measured(&self.whole_us),
            report: self.report(now_us),
            ..NodeLoad::default()
        }
    }
}

/// Two cores that do so at once may lose one measurement.
fn average(of: &AtomicU64, new: u64) {
    let old = of.load(Ordering::Relaxed);
    let next = if old == 0 { new } else { old - old / AVERAGED + new / AVERAGED };
    of.store(next.max(1), Ordering::Relaxed);
}

/// The counters of all nodes. A core comes here for those that it does not hold yet.
#[derive(Debug, Default)]
pub(crate) struct NodeMeters(Mutex<IdMap<NodeId, Arc<NodeMeter>>>);

impl NodeMeters {
    pub(crate) fn of(&self, node: NodeId) -> Arc<NodeMeter> {
        // An entry is inserted whole, so a panic elsewhere does not corrupt the map.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= BOARD_PRINCIPALS_MAX && !known.contains_key(&node) {
            known.retain(|_, meter| Arc::strong_count(meter) > 1);
        }
        if known.len() >= BOARD_PRINCIPALS_MAX && !known.contains_key(&node) {
            return Arc::default();
        }
        Arc::clone(known.entry(node).or_default())
    }

    pub(crate) fn note(&self, node: NodeId, report: LoadReport, until_us: u64) {
        self.of(node).note(report, until_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(running: u32, waiting: u32, kv_permille: Option<u16>) -> LoadReport {
        LoadReport { running, waiting, kv_permille, token_us: kv_permille.map(u32::from), in_flight_then: 0 }
    }

    #[test]
    fn what_a_node_said_counts_until_it_is_due_to_say_more() {
        let meters = NodeMeters::default();
        let node = NodeId::new(1, [3; 10]);
        let meter = meters.of(node);
        assert_eq!(meter.load(0), NodeLoad::default());
        assert_eq!((meter.enter(), meter.enter()), (0, 1));
        for said in [reported(7, 3, Some(912)), reported(COUNT_MASK, 0, None)] {
            meters.note(node, said, 100);
            let expected = LoadReport { in_flight_then: 2, ..said };
            assert_eq!(meter.load(99).report, Some(expected));
            assert_eq!(meter.load(100).report, None);
        }
    }

    #[test]
    fn a_first_token_counts_for_each_request_ahead() {
        let meter = NodeMeter::default();
        let ahead = [meter.enter(), meter.enter()];
        meter.first_token(100, ahead[0], 0);
        meter.answer();
        assert_eq!((meter.load(0).alone_us, meter.load(0).unanswered), (Some(100), 1));
        meter.first_token(1_000, ahead[1], 0);
        meter.answer();
        meter.leave();
        let load = meter.load(0);
        assert_eq!((load.alone_us, load.unanswered, load.in_flight), (Some(150), 0, 1));
        let later_us = micros(NODE_PACE_LIFE);
        assert_eq!(meter.load(later_us - 1).alone_us, Some(150));
        assert_eq!(meter.load(later_us).alone_us, None, "it is tried again");
        meter.first_token(40, 0, later_us);
        assert_eq!(meter.load(later_us).alone_us, Some(40), "and what it was before doesn't count");
    }
}

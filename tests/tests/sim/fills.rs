//! What the oracle knows of each commitment: who drew on it and when, replayed once all records are there.

use std::collections::BTreeMap;

use domain::{BudgetId, MeterRecord, TraceId};

use crate::commitments::Share;

/// Of a thousand: how much of a commitment is used, or certain to be, before anything goes elsewhere.
const FILLED_PER_MILLE: i64 = 995;

enum Moment {
    /// An exchange draws on it, with `least`. `known` if it could be determined that something was left.
    Drew {
        trace: TraceId,
        least: i64,
        known: bool,
    },
    Closed(TraceId),
    /// An attempt found it used up, after it had `waited` for what others may return.
    FoundUsedUp {
        waited: bool,
    },
    /// The process died: recovery closes what was open.
    Died,
    /// A neighbour's reservation and spend changed by this much.
    Beside {
        reserved: i64,
        spent: i64,
    },
}

/// The log of every commitment, by period.
#[derive(Default)]
pub struct Fills {
    logs: BTreeMap<Share, Vec<Moment>>,
    open: BTreeMap<TraceId, Vec<Share>>,
}

impl Fills {
    pub fn drew(&mut self, share: Share, trace: TraceId, least: i64, known: bool) {
        let shares = self.open.entry(trace).or_default();
        // A retry goes on with what the first attempt drew.
        if !shares.contains(&share) {
            shares.push(share);
            self.logs.entry(share).or_default().push(Moment::Drew { trace, least, known });
        }
    }

    pub fn found_used_up(&mut self, share: Share, waited: bool) {
        self.logs.entry(share).or_default().push(Moment::FoundUsedUp { waited });
    }

    pub fn closed(&mut self, trace: TraceId) {
        for share in self.open.remove(&trace).unwrap_or_default() {
            self.logs.entry(share).or_default().push(Moment::Closed(trace));
        }
    }

    pub fn died(&mut self) {
        self.open.clear();
        self.logs.values_mut().for_each(|log| log.push(Moment::Died));
    }

    pub fn beside(&mut self, share: Share, reserved: i64, spent: i64) {
        self.logs.entry(share).or_default().push(Moment::Beside { reserved, spent });
    }

    /// What a neighbour spent of each.
    pub fn spent_beside(&self) -> BTreeMap<Share, i64> {
        let of = |log: &Vec<Moment>| {
            log.iter().map(|moment| if let Moment::Beside { spent, .. } = moment { *spent } else { 0 }).sum()
        };
        self.logs.iter().map(|(share, log)| (*share, of(log))).collect()
    }

    /// Replays every log with what each exchange cost in the end. `is_lost`: its closing was never written.
    pub fn check(
        &self,
        limit: impl Fn(Share) -> i64,
        cost: impl Fn(TraceId, Share) -> i64,
        is_lost: impl Fn(TraceId) -> bool,
    ) {
        for (share, log) in &self.logs {
            let is_shared = log.iter().any(|moment| matches!(moment, Moment::Beside { .. }));
            let mut replay = Replay::new(*share, limit(*share), is_shared);
            for moment in log {
                replay.step(moment, &|trace| cost(trace, *share), &is_lost);
            }
            replay.end();
        }
    }
}

struct Replay {
    share: Share,
    limit: i64,
    is_shared: bool,
    used: i64,
    reserved_beside: i64,
    /// What each exchange in flight is certain to use.
    open: BTreeMap<TraceId, i64>,
    in_flight_max: i64,
    /// Until now every draw was decided with the centre within reach.
    is_known: bool,
    /// What this process settled is partly lost with it, so that its records say less than it knew.
    is_blurred: bool,
}

impl Replay {
    const fn new(share: Share, limit: i64, is_shared: bool) -> Self {
        Self {
            share,
            limit,
            is_shared,
            used: 0,
            reserved_beside: 0,
            open: BTreeMap::new(),
            in_flight_max: 0,
            is_known: true,
            is_blurred: false,
        }
    }

    fn step(&mut self, moment: &Moment, cost: &impl Fn(TraceId) -> i64, is_lost: &impl Fn(TraceId) -> bool) {
        match moment {
            Moment::Drew { trace, least, known } => {
                self.is_known &= known;
                if self.is_known && !self.is_blurred && !self.is_shared {
                    // Each in flight reserves at least one nano-USD, and up to its least.
                    let used = self.used + i64::try_from(self.open.len()).expect("few");
                    let (share, limit) = (self.share, self.limit);
                    assert!(used < limit, "{share:?}: {used} of {limit} are used: {trace} draws");
                }
                self.open.insert(*trace, if *known { *least } else { 0 });
            }
            Moment::Closed(trace) => {
                self.open.remove(trace);
                self.used += cost(*trace);
                self.is_blurred |= is_lost(*trace);
            }
            Moment::FoundUsedUp { waited } if *waited && !self.is_blurred => {
                let certain = self.used + self.open.values().sum::<i64>() + self.reserved_beside;
                let (share, limit) = (self.share, self.limit);
                let is_filled = certain * 1_000 >= limit * FILLED_PER_MILLE;
                assert!(
                    is_filled,
                    "{share:?}: {certain} of {limit} are filled when an attempt goes elsewhere"
                );
            }
            Moment::FoundUsedUp { .. } => {}
            Moment::Died => {
                self.used += self.open.keys().map(|trace| cost(*trace)).sum::<i64>();
                self.open.clear();
                self.is_blurred = false;
            }
            Moment::Beside { reserved, spent } => {
                self.used += spent;
                self.reserved_beside += reserved;
            }
        }
        let in_flight: i64 = self.open.keys().map(|trace| cost(*trace)).sum();
        self.in_flight_max = self.in_flight_max.max(in_flight);
    }

    fn end(&self) {
        if self.is_known && !self.is_shared {
            let (used, limit, in_flight) = (self.used, self.limit, self.in_flight_max);
            assert!(used <= limit + in_flight, "{:?}: {used} of {limit}, {in_flight} in flight", self.share);
        }
    }
}

/// What a record draws on each commitment is what its attempts on that credential cost, in one row.
pub fn check_drawn<'a>(record: &MeterRecord, commitments: impl Iterator<Item = &'a BudgetId>) {
    for budget in commitments {
        let attempts = record.attempts.iter().filter(|attempt| budget.is_commitment_of(attempt.principal));
        let cost: i64 = attempts.map(|attempt| attempt.charge.provider_cost.0).sum();
        let drawn: Vec<i64> =
            record.drawn.iter().filter(|drawn| drawn.budget == *budget).map(|drawn| drawn.amount.0).collect();
        assert!(drawn.len() <= 1, "{}: drawn twice: {drawn:?}", record.trace);
        assert_eq!(drawn.iter().sum::<i64>(), cost, "{}: {:?}", record.trace, record.attempts);
    }
}

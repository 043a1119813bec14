//! One budget and its replicas in virtual time: the production `CentralBudget` and pools, a centre that is
//! unreachable or whose replies get lost, and replicas that crash and restart. Only the simulator knows what
//! was really spent, which must never exceed the limit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use domain::limits::{BUDGET_WAIT_MAX, LEASE_RENEW_EVERY, LEASE_TIME_MAX};
use domain::{Budget, BudgetId, Counts, Nanos, OnReached, Period, Subject, WorkspaceId};
use world::{Random, SeededRandom};

use crate::lease::{CentralBudget, LeaseGrant, lease_ms, skew_ms};
use crate::local_budget::{LeaseOp, LocalBudget, Outlook, Ticket};

const MS: u64 = 1_000;
const SECOND: u64 = 1_000_000;
/// Percent of the limit; while more than this is free, no request should be refused.
const TRULY_FREE_PERCENT: i64 = 5;
/// How often a lease client polls its pools.
const TICK_US: u128 = 100_000;
/// By now everything must have been returned, whatever happened; it takes far less.
const SETTLED_BY_US: u64 = 3_600 * SECOND;
const START_UNIX_MS: u64 = 1_700_000_000_000;

/// The counts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeaseReport {
    pub requests: u64,
    pub served: u64,
    pub refused: u64,
    /// Refused although more than 5 % was free and the centre was reachable.
    pub refused_falsely: u64,
    /// Refused because the centre was unreachable.
    pub refused_unknown: u64,
    pub waited: u64,
    /// Calls that the centre applied, and those of them that returned something.
    pub calls: u64,
    pub returns: u64,
    /// Requests and calls until 90 % was used: the cost of a budget that lasts.
    pub requests_before_end: u64,
    pub calls_before_end: u64,
    pub crashes: u64,
    pub answers_lost: u64,
    pub outages: u64,
    /// Leases of replicas that stayed away, reclaimed by another one's renewal.
    pub reclaimed: u64,
    pub recalls: u64,
    pub digest: u64,
}

impl LeaseReport {
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.requests, other.requests),
            (&mut self.served, other.served),
            (&mut self.refused, other.refused),
            (&mut self.refused_falsely, other.refused_falsely),
            (&mut self.refused_unknown, other.refused_unknown),
            (&mut self.waited, other.waited),
            (&mut self.calls, other.calls),
            (&mut self.returns, other.returns),
            (&mut self.requests_before_end, other.requests_before_end),
            (&mut self.calls_before_end, other.calls_before_end),
            (&mut self.crashes, other.crashes),
            (&mut self.answers_lost, other.answers_lost),
            (&mut self.outages, other.outages),
            (&mut self.reclaimed, other.reclaimed),
            (&mut self.recalls, other.recalls),
        ] {
            *sum += more;
        }
        self.digest ^= other.digest;
    }

    /// The smallest count of the events that a scenario exists for: if one never occurs, the run proves
    /// nothing.
    pub fn least_met(&self) -> u64 {
        let met = [
            self.served,
            self.refused,
            self.refused_unknown,
            self.waited,
            self.returns,
            self.crashes,
            self.answers_lost,
            self.outages,
            self.reclaimed,
            self.recalls,
        ];
        met.into_iter().min().unwrap_or(0)
    }
}

/// Why a lease client polls its pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PollReason {
    Tick,
    /// A request started to wait.
    Wanted,
    Recall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    /// Of one life of a replica: events of an earlier life are ignored.
    Finish {
        replica: usize,
        life: u64,
        exchange: u64,
    },
    GiveUp {
        replica: usize,
        life: u64,
        ticket: Ticket,
    },
    Turn {
        replica: usize,
        life: u64,
        why: PollReason,
    },
    AtCentre {
        replica: usize,
        life: u64,
    },
    Answer {
        replica: usize,
        life: u64,
    },
    Drain {
        replica: usize,
    },
    Renew {
        replica: usize,
        life: u64,
    },
    Crash {
        replica: usize,
    },
    Restart {
        replica: usize,
    },
    Away {
        until_us: u64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Exchange {
    ceiling: i64,
    cost: i64,
    duration_us: u64,
    reserved: i64,
}

#[derive(Debug)]
struct Replica {
    pool: Arc<LocalBudget>,
    life: u64,
    alive: bool,
    valid_until_us: u64,
    open: BTreeMap<u64, Exchange>,
    /// By ticket.
    waiting: BTreeMap<Ticket, (u64, Exchange)>,
    /// Settled but not drained: the journal, which survives a crash.
    journal: i64,
    call: Option<LeaseOp>,
    answer: Option<Option<LeaseGrant>>,
    turning: bool,
}

/// The distribution of requests.
#[derive(Debug, Clone, Copy)]
enum Traffic {
    /// Costs and durations are uniform, up to a ceiling, and some replicas get most of the requests.
    Uneven { ceiling_most: i64 },
    /// A few long answers make up most of the cost, ceilings are twice the cost, and a load balancer spreads
    /// them evenly.
    LogNormal { cost_mean: i64 },
}

/// Log-normal with a deviation of 1.2: the means of twenty equal parts, in thousandths of the overall mean.
const LOG_NORMAL: [u64; 20] = [
    44, 86, 122, 159, 197, 238, 283, 332, 388, 452, 525, 611, 714, 840, 999, 1_208, 1_500, 1_949, 2_786,
    6_567,
];
/// The mean duration of a log-normal answer.
const DURATION_US_MEAN: u64 = 3_300 * MS;

/// One run, from one seed.
pub struct LeaseRun {
    random: SeededRandom,
    now_us: u64,
    number: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    purse: CentralBudget,
    replicas: Vec<Replica>,
    away_until_us: u64,
    arrivals_left: u64,
    gap_us: u64,
    traffic: Traffic,
    /// What was really used, and what is reserved: known to the simulator only.
    spent: i64,
    reserved: i64,
    /// What replicas had spent but not reported when their leases were reclaimed: the limit may be exceeded
    /// by this much.
    untold: i64,
    report: LeaseReport,
    calm: bool,
}

impl LeaseRun {
    /// A run of up to `replicas_max` replicas.
    pub fn new(seed: u64, replicas_max: u64) -> Self {
        let random = SeededRandom::new(seed);
        let count = if random.below(3) == 0 { replicas_max } else { 1 + random.below(replicas_max) };
        let requests = 80 + random.below(300);
        let gap_us = (5 + random.below(100)) * MS;
        let calm = random.below(3) == 0;
        let limit = 1_000_000_000 * (1 + i64_of(random.below(20)));
        // It starts near the limit. Its requests together cost about one and a half times the rest.
        let spent = limit / 100 * 85;
        let ceiling_most = ((limit - spent) / i64_of(requests) * 6).max(4);
        Self::of(
            random,
            CentralBudget { limit, spent, ..CentralBudget::default() },
            Traffic::Uneven { ceiling_most },
        )
        .with(count, requests, gap_us, calm)
    }

    /// A long run: this many requests with this mean gap, and no failures.
    pub fn long(seed: u64, replicas: u64, requests: u64, gap_us: u64) -> Self {
        let purse = CentralBudget { limit: 10_000_000_000, ..CentralBudget::default() };
        let ceiling_most = purse.limit / i64_of(requests) * 6;
        Self::of(SeededRandom::new(seed), purse, Traffic::Uneven { ceiling_most })
            .with(replicas, requests, gap_us, true)
    }

    /// The workload behind the design's figure: a limit of 1,000 USD, 400 requests a second, 60,000 in all,
    /// which cost one and a half times the limit; log-normal costs, ceilings of twice the cost, answers of
    /// 3.3 s on average.
    pub fn design(seed: u64, replicas: u64) -> Self {
        let purse = CentralBudget { limit: 1_000_000_000_000, ..CentralBudget::default() };
        Self::of(SeededRandom::new(seed), purse, Traffic::LogNormal { cost_mean: 24_000_000 })
            .with(replicas, 60_000, 2_500, true)
    }

    fn of(random: SeededRandom, purse: CentralBudget, traffic: Traffic) -> Self {
        Self {
            random,
            now_us: SECOND,
            number: 0,
            events: BinaryHeap::new(),
            spent: purse.spent,
            purse,
            replicas: Vec::new(),
            away_until_us: 0,
            arrivals_left: 0,
            gap_us: 0,
            traffic,
            reserved: 0,
            untold: 0,
            report: LeaseReport::default(),
            calm: true,
        }
    }

    fn with(mut self, count: u64, requests: u64, gap_us: u64, calm: bool) -> Self {
        (self.arrivals_left, self.gap_us, self.calm) = (requests, gap_us, calm);
        for number in 0..count {
            self.replicas.push(replica());
            self.renew(usize_of(number));
            self.at(LEASE_RENEW_EVERY.as_micros(), Event::Renew { replica: usize_of(number), life: 0 });
        }
        self.at(u128::from(MS), Event::Arrive);
        self
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// A description of the violated invariant.
    pub fn go(mut self) -> Result<LeaseReport, String> {
        while let Some(Reverse((at_us, _, event))) = self.events.pop() {
            self.now_us = at_us;
            self.happen(event);
            self.check(event)?;
            if self.arrivals_left == 0 && self.is_quiet() {
                break;
            }
            if self.now_us > SETTLED_BY_US {
                return Err(format!("it never comes to rest: {:?} {:?}", self.purse, self.replicas));
            }
        }
        self.check_end()?;
        Ok(self.report)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::Finish { replica, life, exchange } if self.lives(replica, life) => {
                self.finish(replica, exchange);
            }
            Event::GiveUp { replica, life, ticket } if self.lives(replica, life) => {
                self.give_up(replica, ticket);
            }
            Event::Turn { replica, life, why } if self.lives(replica, life) => {
                self.turn(replica, why);
            }
            Event::AtCentre { replica, life } => self.at_centre(replica, life),
            Event::Answer { replica, life } if self.lives(replica, life) => self.answer(replica),
            Event::Drain { replica } => self.drain(replica),
            Event::Renew { replica, life } if self.lives(replica, life) => {
                self.renew(replica);
                self.at(LEASE_RENEW_EVERY.as_micros(), Event::Renew { replica, life });
            }
            Event::Crash { replica } => self.crash(replica),
            Event::Restart { replica } => self.restart(replica),
            Event::Away { until_us } => {
                self.away_until_us = self.away_until_us.max(until_us);
                self.report.outages += 1;
            }
            _ => {}
        }
    }

    fn arrive(&mut self) {
        if self.arrivals_left == 0 {
            return;
        }
        self.arrivals_left -= 1;
        self.disturb();
        let gap = 1 + self.random.below(2 * self.gap_us);
        self.at(u128::from(gap), Event::Arrive);
        let at = self.pick_replica();
        let alive = self.replicas.get(at).is_some_and(|replica| replica.alive);
        if !alive {
            return;
        }
        self.report.requests += 1;
        if self.spent + self.reserved < self.purse.limit / 10 * 9 {
            self.report.requests_before_end = self.report.requests;
            self.report.calls_before_end = self.report.calls;
        }
        let exchange = self.exchange();
        self.admit(at, exchange);
    }

    /// The replica that receives a request.
    fn pick_replica(&self) -> usize {
        let count = self.replicas.len() as u64;
        usize_of(match self.traffic {
            Traffic::Uneven { .. } => self.random.below(1 + self.random.below(count)),
            Traffic::LogNormal { .. } => self.random.below(count),
        })
    }

    fn exchange(&self) -> Exchange {
        let random = &self.random;
        match self.traffic {
            Traffic::Uneven { ceiling_most } => {
                let ceiling = 1 + i64_of(random.below(u64_of(ceiling_most)));
                Exchange {
                    ceiling,
                    cost: i64_of(random.below(u64_of(ceiling) + 1)),
                    duration_us: (1 + random.below(4_000)) * MS,
                    reserved: 0,
                }
            }
            Traffic::LogNormal { cost_mean } => {
                let part = LOG_NORMAL.get(usize_of(random.below(20))).copied().unwrap_or(1_000);
                // Long answers cost more.
                let cost = i64_of(u64_of(cost_mean) * part * (750 + random.below(501)) / 1_000_000);
                let duration_us = DURATION_US_MEAN * part * (750 + random.below(501)) / 1_000_000;
                Exchange { ceiling: 2 * cost, cost, duration_us, reserved: 0 }
            }
        }
    }

    fn disturb(&mut self) {
        if self.calm {
            return;
        }
        let count = self.replicas.len() as u64;
        let now_us = self.now_us;
        match self.random.below(400) {
            0 | 1 => {
                let replica = usize_of(self.random.below(count));
                self.at(u128::from(self.random.below(SECOND)), Event::Crash { replica });
            }
            2 => {
                let until_us = now_us + self.random.below(10) * SECOND;
                self.at(0, Event::Away { until_us });
            }
            _ => {}
        }
    }

    fn admit(&mut self, at: usize, exchange: Exchange) {
        let (now_us, number) = (self.now_us, self.next_number());
        let Some(replica) = self.replicas.get_mut(at) else { return };
        let pool = Arc::clone(&replica.pool);
        if now_us >= replica.valid_until_us {
            self.report.refused_unknown += 1;
            return;
        }
        if let Some(reserved) = pool.reserve(exchange.ceiling, exchange.ceiling, now_us) {
            self.serve(at, number, Exchange { reserved, ..exchange });
            return;
        }
        let ticket = match pool.outlook(exchange.ceiling, now_us) {
            Outlook::Wait => pool.enqueue(exchange.ceiling, exchange.ceiling, now_us),
            Outlook::Exhausted | Outlook::Crowded => None,
        };
        let Some(ticket) = ticket else {
            self.refuse(at);
            return;
        };
        self.report.waited += 1;
        let life = replica.life;
        replica.waiting.insert(ticket, (number, exchange));
        self.at(BUDGET_WAIT_MAX.as_micros(), Event::GiveUp { replica: at, life, ticket });
        self.at(0, Event::Turn { replica: at, life, why: PollReason::Wanted });
        self.tick(at);
        // A request that needs less than those before it may find enough.
        self.serve_waiting(at);
    }

    fn serve(&mut self, at: usize, number: u64, exchange: Exchange) {
        let now = self.now_us;
        self.report.served += 1;
        self.report.digest =
            self.report.digest.rotate_left(7) ^ number ^ now ^ exchange.reserved.cast_unsigned();
        let Some(replica) = self.replicas.get_mut(at) else { return };
        let life = replica.life;
        replica.open.insert(number, exchange);
        self.reserved += exchange.reserved;
        self.at(u128::from(exchange.duration_us), Event::Finish { replica: at, life, exchange: number });
        self.tick(at);
    }

    /// The lease client polls its pools while they have anything in them.
    fn tick(&mut self, at: usize) {
        let life = self.replicas_life(at);
        if !std::mem::replace(&mut self.replicas_mut(at).turning, true) {
            self.at(TICK_US, Event::Turn { replica: at, life, why: PollReason::Tick });
        }
    }

    fn finish(&mut self, at: usize, number: u64) {
        let now_us = self.now_us;
        let replica = self.replicas_mut(at);
        let Some(exchange) = replica.open.remove(&number) else { return };
        replica.pool.settle(exchange.reserved, exchange.cost, now_us);
        replica.journal += exchange.cost;
        self.spent += exchange.cost;
        self.reserved -= exchange.reserved;
        self.at(200_000, Event::Drain { replica: at });
        self.serve_waiting(at);
    }

    fn give_up(&mut self, at: usize, ticket: Ticket) {
        let replica = self.replicas_mut(at);
        if replica.waiting.remove(&ticket).is_some() {
            replica.pool.leave(ticket);
            self.refuse(at);
        }
    }

    /// Lets waiting requests try again, as they do when they are woken.
    fn serve_waiting(&mut self, at: usize) {
        let now_us = self.now_us;
        let pool = Arc::clone(&self.replicas_mut(at).pool);
        while let Some((ticket, (number, exchange))) =
            self.replicas_mut(at).waiting.first_key_value().map(|(ticket, waiting)| (*ticket, *waiting))
        {
            if let Some(reserved) = pool.take_waited(ticket, exchange.ceiling, now_us) {
                self.replicas_mut(at).waiting.remove(&ticket);
                self.serve(at, number, Exchange { reserved, ..exchange });
            } else if pool.outlook(exchange.ceiling, now_us) == Outlook::Exhausted {
                self.give_up(at, ticket);
            } else {
                return;
            }
        }
    }

    fn refuse(&mut self, at: usize) {
        self.report.refused += 1;
        let free = self.purse.limit - self.spent - self.reserved;
        let now_us = self.now_us;
        let is_reachable = self.replicas_mut(at).pool.is_centre_reachable(now_us);
        if self.now_us < self.away_until_us + 3 * SECOND || !is_reachable {
            self.report.refused_unknown += 1;
        } else if free > self.purse.limit / 100 * TRULY_FREE_PERCENT {
            self.report.refused_falsely += 1;
        }
    }

    fn turn(&mut self, at: usize, why: PollReason) {
        let (now_us, unix_ms) = (self.now_us, self.unix_ms());
        let replica = self.replicas_mut(at);
        let life = replica.life;
        if let Some(call) = replica.pool.next_call(now_us, unix_ms, why == PollReason::Recall) {
            replica.call = Some(call);
            let latency = self.latency();
            self.at(latency, Event::AtCentre { replica: at, life });
        }
        if why != PollReason::Tick {
            return;
        }
        let replica = self.replicas_mut(at);
        replica.turning = !replica.pool.is_at_rest();
        if replica.turning {
            self.at(TICK_US, Event::Turn { replica: at, life, why: PollReason::Tick });
        }
    }

    fn at_centre(&mut self, at: usize, life: u64) {
        let (count, unix_ms) = (self.replicas.len() as u64, self.unix_ms());
        let is_away = self.now_us < self.away_until_us;
        let Some(call) = self.replicas_mut(at).call.filter(|_| self.replicas_life(at) == life) else {
            return;
        };
        let mut answer = None;
        if !is_away {
            self.report.calls += 1;
            let number = i64_of(at as u64);
            match call {
                LeaseOp::Ask(ask) => {
                    let recalled = self.purse.recalled_unix_ms;
                    let grant = self.purse.grant(number, count, &ask, unix_ms);
                    if self.purse.recalled_unix_ms != recalled {
                        self.recall(at);
                    }
                    answer = Some(grant);
                }
                LeaseOp::Return { sequence, amount } => {
                    self.report.returns += 1;
                    self.purse.take_back(number, sequence, amount);
                    answer = Some(LeaseGrant { sequence, ..LeaseGrant::default() });
                }
            }
            if !self.calm && self.random.below(50) == 0 {
                self.report.answers_lost += 1;
                answer = None;
            }
        }
        self.replicas_mut(at).answer = Some(answer);
        let latency = self.latency();
        self.at(latency, Event::Answer { replica: at, life });
    }

    fn recall(&mut self, by: usize) {
        self.report.recalls += 1;
        for at in 0..self.replicas.len() {
            let life = self.replicas_life(at);
            if at != by && self.random.below(10) > 0 {
                let latency = self.latency();
                self.at(latency, Event::Turn { replica: at, life, why: PollReason::Recall });
            }
        }
    }

    fn answer(&mut self, at: usize) {
        let now_us = self.now_us;
        let replica = self.replicas_mut(at);
        let (Some(call), Some(answer)) = (replica.call.take(), replica.answer.take()) else { return };
        match (call, answer) {
            (LeaseOp::Ask(_), Some(grant)) => replica.pool.apply_grant(grant, now_us),
            (LeaseOp::Return { sequence, .. }, Some(_)) => replica.pool.confirm_return(sequence, now_us),
            (_, None) => replica.pool.record_failure(now_us),
        }
        self.serve_waiting(at);
        self.tick(at);
    }

    fn drain(&mut self, at: usize) {
        if self.now_us < self.away_until_us {
            self.at(u128::from(SECOND), Event::Drain { replica: at });
            return;
        }
        let amount = std::mem::take(&mut self.replicas_mut(at).journal);
        self.purse.settle(i64_of(at as u64), amount);
    }

    fn renew(&mut self, at: usize) {
        if self.now_us < self.away_until_us {
            return;
        }
        let (now_us, unix_ms) = (self.now_us, self.unix_ms());
        let before: Vec<i64> = self.purse.leases.keys().copied().collect();
        self.purse.renew(i64_of(at as u64), unix_ms);
        self.purse.reclaim(unix_ms);
        for gone in before.iter().filter(|number| !self.purse.leases.contains_key(number)) {
            self.report.reclaimed += 1;
            self.untold += self.replicas.get(usize_of(u64_of(*gone))).map_or(0, |replica| replica.journal);
        }
        let held = self.purse.leases.get(&i64_of(at as u64)).is_some_and(|lease| lease.held != 0);
        let replica = self.replicas_mut(at);
        if !held {
            replica.pool.forget();
        }
        replica.valid_until_us = now_us + u64::try_from(LEASE_TIME_MAX.as_micros()).unwrap_or(u64::MAX);
    }

    /// Crashes a replica. Its open exchanges are booked by recovery, each for up to its reservation.
    fn crash(&mut self, at: usize) {
        if !self.replicas_mut(at).alive {
            return;
        }
        self.report.crashes += 1;
        let replica = self.replicas_mut(at);
        replica.alive = false;
        replica.life += 1;
        replica.waiting.clear();
        (replica.call, replica.answer) = (None, None);
        let open = std::mem::take(&mut replica.open);
        let interrupted: i64 = open.values().map(|open| open.cost).sum();
        replica.journal += interrupted;
        self.spent += interrupted;
        self.reserved -= open.values().map(|open| open.reserved).sum::<i64>();
        // Most restart soon, some only after the centre has reclaimed their lease.
        let absence_us = match self.random.below(4) {
            0 => (lease_ms() + skew_ms()) * MS + self.random.below(180) * SECOND,
            _ => self.random.below(20) * SECOND,
        };
        self.at(u128::from(absence_us), Event::Restart { replica: at });
    }

    fn restart(&mut self, at: usize) {
        if self.now_us < self.away_until_us {
            self.at(u128::from(SECOND), Event::Restart { replica: at });
            return;
        }
        self.drain(at);
        self.purse.leases.remove(&i64_of(at as u64));
        let life = self.replicas_life(at);
        *self.replicas_mut(at) = Replica { life, ..replica() };
        self.renew(at);
        self.at(LEASE_RENEW_EVERY.as_micros(), Event::Renew { replica: at, life });
    }

    /// Checks the invariants after every event.
    fn check(&self, after: Event) -> Result<(), String> {
        let purse = &self.purse;
        let is_moved = matches!(
            after,
            Event::AtCentre { .. } | Event::Drain { .. } | Event::Renew { .. } | Event::Restart { .. }
        );
        let over = (purse.spent + purse.lease_total() - purse.limit).max(0);
        if is_moved
            && (over > self.untold || purse.spent + purse.lease_total() + purse.free() != purse.limit + over)
        {
            return Err(format!(
                "{} + {} + {} is not the limit",
                purse.spent,
                purse.lease_total(),
                purse.free()
            ));
        }
        if self.spent + self.reserved > purse.limit + self.untold {
            let (limit, untold) = (purse.limit, self.untold);
            return Err(format!(
                "{} spent and {} open of {limit}, {untold} untold",
                self.spent, self.reserved
            ));
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), String> {
        let purse = &self.purse;
        let reserved: i64 = self.replicas.iter().map(|replica| replica.pool.reservation()).sum();
        if reserved != 0 || self.reserved != 0 {
            return Err(format!("{reserved} is still reserved"));
        }
        if purse.spent != self.spent {
            return Err(format!("{} in the books, and {} was spent", purse.spent, self.spent));
        }
        if self.calm && self.report.refused_unknown > 0 {
            return Err(format!(
                "{} could not be told while the centre was there",
                self.report.refused_unknown
            ));
        }
        if purse.lease_total() != 0 {
            return Err(format!("{} is still held: {:?}", purse.lease_total(), purse.leases));
        }
        // A replica that never comes back: its lease expires, and not before its time.
        let mut silent = CentralBudget { limit: 100, ..CentralBudget::default() };
        silent.grant(
            7,
            1,
            &crate::lease::LeaseRequest { sequence: 1, least: 9, wanted: 9, divisible: false },
            self.unix_ms(),
        );
        silent.reclaim(self.unix_ms() + lease_ms() + skew_ms() - 1);
        if silent.lease_total() != 9 {
            return Err("a lease ended before its time".to_owned());
        }
        silent.reclaim(self.unix_ms() + lease_ms() + skew_ms());
        if silent.lease_total() != 0 || silent.free() != 100 {
            return Err("a lease did not end in time".to_owned());
        }
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        let quiet = |replica: &Replica| {
            replica.alive
                && replica.open.is_empty()
                && replica.waiting.is_empty()
                && replica.journal == 0
                && replica.pool.is_at_rest()
        };
        self.replicas.iter().all(quiet) && self.now_us >= self.away_until_us && self.purse.lease_total() == 0
    }

    fn lives(&self, at: usize, life: u64) -> bool {
        self.replicas.get(at).is_some_and(|replica| replica.alive && replica.life == life)
    }

    fn replicas_life(&self, at: usize) -> u64 {
        self.replicas.get(at).map_or(0, |replica| replica.life)
    }

    #[expect(clippy::indexing_slicing, reason = "replicas are numbered by the run itself and never go")]
    fn replicas_mut(&mut self, at: usize) -> &mut Replica {
        &mut self.replicas[at]
    }

    fn latency(&mut self) -> u128 {
        u128::from((1 + self.random.below(20)) * MS)
    }

    fn unix_ms(&self) -> u64 {
        START_UNIX_MS + self.now_us / 1_000
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn at(&mut self, after_us: u128, event: Event) {
        let number = self.next_number();
        let at_us = self.now_us + u64::try_from(after_us).unwrap_or(u64::MAX / 2);
        self.events.push(Reverse((at_us, number, event)));
    }
}

fn replica() -> Replica {
    let budget = Budget {
        id: BudgetId::new(1, [1; 10]),
        workspace: WorkspaceId::new(1, [2; 10]),
        name: "simulated".into(),
        subject: Subject::Workspace,
        limit: Nanos::ZERO,
        period: Period::Ever,
        on_reached: OnReached::Pause,
        counts: Counts::All,
    };
    Replica {
        pool: LocalBudget::new(&budget, START_UNIX_MS),
        life: 0,
        alive: true,
        valid_until_us: 0,
        open: BTreeMap::new(),
        waiting: BTreeMap::new(),
        journal: 0,
        call: None,
        answer: None,
        turning: false,
    }
}

fn i64_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn u64_of(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

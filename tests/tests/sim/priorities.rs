//! The queue of a serving thread under random load: whom it sheds, by priority.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Priority;
use line::Overload;
use world::{Random, SeededRandom};

/// A queue is too long beyond this.
const DELAY_MAX_US: u64 = 20_000;

/// What occurred in a run.
#[derive(Debug, Default)]
pub struct Shed {
    pub requests: u64,
    pub shed: u64,
    /// Moments at which some priorities were shed and others not.
    pub divided: u64,
    /// Batch work that was admitted.
    pub batch_admitted: u64,
}

impl Shed {
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.shed += other.shed;
        self.divided += other.divided;
        self.batch_admitted += other.batch_admitted;
    }
}

/// Runs a minute of load. Every request asks twice, as one of the gateway does: as it arrives, and once its route has
/// lowered its priority.
pub fn run(seed: u64) -> Shed {
    let random = SeededRandom::new(seed ^ 0x0005_4ED0);
    let overload = Overload::default();
    overload.bound(Duration::from_micros(DELAY_MAX_US));
    let mut shed = Shed::default();
    let (mut now_us, mut ends_us, mut mood_until_us, mut delay_us) = (1_000_000, None, 0, 0);
    let mut behind_from_us = None;
    while now_us < 61_000_000 {
        now_us += 200 + random.below(4_000);
        if now_us >= mood_until_us {
            mood_until_us = now_us + 50_000 + random.below(6_000_000);
            delay_us = if random.below(2) == 0 { random.below(DELAY_MAX_US) } else { random.below(60_000) };
        }
        if ends_us.is_some_and(|ends_us| ends_us <= now_us) {
            ends_us = None;
            overload.ended(now_us);
        }
        let behind_us = overload.behind_for(now_us);
        behind_from_us = behind_us.map(|_| behind_from_us.unwrap_or(now_us));
        ask(&overload, &random, now_us, behind_from_us, &mut shed);
        if overload.begins(now_us) {
            ends_us = Some(now_us + delay_us + random.below(2_000));
        }
    }
    shed
}

/// Requests of several priorities at one moment, in any order: who is admitted has at least the priority of who is shed.
fn ask(
    overload: &Overload,
    random: &SeededRandom,
    now_us: u64,
    behind_from_us: Option<u64>,
    shed: &mut Shed,
) {
    let priority = || Priority(u8::try_from(random.below(256)).expect("small"));
    let asked: Vec<(Priority, bool)> = (0..1 + random.below(4))
        .map(|_| {
            let stated = priority();
            let routed = stated.min(priority());
            let first = overload.sheds(stated, now_us);
            let second = !first && overload.sheds(routed, now_us);
            if first { (stated, true) } else { (routed, second) }
        })
        .collect();
    let highest_shed = asked.iter().filter(|(_, is_shed)| *is_shed).map(|(priority, _)| *priority).max();
    for (priority, is_shed) in &asked {
        shed.requests += 1;
        shed.shed += u64::from(*is_shed);
        shed.batch_admitted += u64::from(!is_shed && priority.0 < 64);
        let is_above = highest_shed.is_none_or(|highest| *priority > highest);
        assert!(*is_shed || is_above, "{priority:?} is admitted at {now_us} and {highest_shed:?} is shed");
        assert!(!is_shed || behind_from_us.is_some(), "{priority:?} is shed at {now_us}, and nobody waits");
    }
    shed.divided += u64::from(highest_shed.is_some() && asked.iter().any(|(_, is_shed)| !is_shed));
}

/// The time that a request takes of a thread, and that a refusal takes.
const SERVED_US: u64 = 1_000;
const REFUSED_US: u64 = 30;
const BEGINS_US: u64 = 1_000_000;
/// For how long three times as many come as can be served, and for how long half as many afterwards.
const OVERLOADED_US: u64 = 30_000_000;
const QUIET_US: u64 = 15_000_000;

/// The outcome of three times a thread's load.
#[derive(Debug, Default)]
pub struct Overloaded {
    pub served: BTreeMap<Priority, u64>,
    pub refused: BTreeMap<Priority, u64>,
    pub waited_us_max: u64,
    /// How long after the overload the last one was refused.
    pub recovered_us: u64,
}

impl Overloaded {
    /// How much of the time was spent on serving.
    pub fn goodput_percent(&self) -> u64 {
        self.served.values().sum::<u64>() * SERVED_US * 100 / OVERLOADED_US
    }
}

/// Sends a thread three times what it can serve, whether earlier ones were answered or not, of priorities with their percentages.
pub fn overload(seed: u64, mix: &[(Priority, u64)]) -> Overloaded {
    let (random, overload) = (SeededRandom::new(seed), Overload::default());
    overload.bound(Duration::from_millis(250));
    let mut found = Overloaded::default();
    let (until_us, mut now_us, mut free_us) = (BEGINS_US + OVERLOADED_US, BEGINS_US, BEGINS_US);
    let mut measured_us = None;
    while now_us < until_us + QUIET_US {
        let is_overloaded = now_us < until_us;
        now_us += 1 + random.below(if is_overloaded { 2 * SERVED_US / 3 } else { 4 * SERVED_US });
        if let Some(ended_us) = measured_us.take_if(|ends_us| *ends_us <= now_us) {
            overload.ended(ended_us);
        }
        let mut drawn = random.below(100);
        let is_drawn = |(_, percent): &&(Priority, u64)| {
            let is_here = drawn < *percent;
            drawn = drawn.saturating_sub(*percent);
            is_here
        };
        let (priority, _) = *mix.iter().find(is_drawn).expect("all of a hundred");
        let starts_us = free_us.max(now_us);
        // A measurement waits in the same queue.
        if overload.begins(now_us) {
            measured_us = Some(starts_us);
        }
        let is_refused = overload.sheds(priority, now_us);
        free_us = starts_us + if is_refused { REFUSED_US } else { SERVED_US };
        if is_overloaded {
            let counts = if is_refused { &mut found.refused } else { &mut found.served };
            *counts.entry(priority).or_default() += 1;
            found.waited_us_max = found.waited_us_max.max(if is_refused { 0 } else { starts_us - now_us });
        } else if is_refused {
            found.recovered_us = now_us - until_us;
        }
    }
    found
}

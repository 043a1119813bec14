//! The queue of a serving thread under random load: whom it sheds, by priority.

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
    overload.bound(std::time::Duration::from_micros(DELAY_MAX_US));
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

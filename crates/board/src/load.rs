//! How busy and how fast each principal is with each model, over all cores: counters that cores write without a lock. An update
//! that races with a decay may be lost, which moves a median by nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::limits::{BOARD_MEASURED_MAX, SPEED_HALF_LIFE};
use domain::timeline::micros;
use domain::{IdMap, Principal};

/// Times of less than 2^10 us (a millisecond) are in the first bucket.
const OCTAVE_FIRST: u32 = 10;
/// Those of 2^27 us (two minutes) and more are in the last octave.
const OCTAVES: usize = 18;
/// Buckets for each doubling of a time.
const STEP_BITS: u32 = 2;
const STEPS: usize = 1 << STEP_BITS;
const BUCKETS: usize = OCTAVES * STEPS;
/// What one time counts: a power of two, so that it is forgotten after as many halvings.
const WEIGHT: u32 = 1 << 7;

/// What is known of one principal with one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    pub in_flight: u32,
    /// The median time to the first byte; `None` if nothing was measured lately.
    pub first_byte_us: Option<u64>,
    /// The median time to the end of an answer that was not streamed.
    pub whole_us: Option<u64>,
}

/// The counters of one principal with one model.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    in_flight: AtomicU32,
    first_byte: Times,
    whole: Times,
}

impl Meter {
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn first_byte(&self, took_us: u64, now_us: u64) {
        self.first_byte.note(took_us, now_us);
    }

    pub(crate) fn whole(&self, took_us: u64, now_us: u64) {
        self.whole.note(took_us, now_us);
    }

    pub(crate) fn load(&self, now_us: u64) -> Load {
        Load {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            first_byte_us: self.first_byte.median(now_us),
            whole_us: self.whole.median(now_us),
        }
    }
}

/// A histogram of times on a logarithmic scale, in which every count halves once in a while.
#[derive(Debug)]
struct Times {
    buckets: [AtomicU32; BUCKETS],
    /// Up to when the counts were halved; zero if nothing was noted yet.
    halved_us: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU32::new(0)), halved_us: AtomicU64::new(0) }
    }
}

impl Times {
    fn note(&self, took_us: u64, now_us: u64) {
        self.decay(now_us);
        if let Some(bucket) = self.buckets.get(bucket_of(took_us)) {
            bucket.fetch_add(WEIGHT, Ordering::Relaxed);
        }
    }

    fn decay(&self, now_us: u64) {
        let before = self.halved_us.load(Ordering::Relaxed);
        let halvings = halvings(before, now_us);
        let next = if before == 0 { now_us.max(1) } else { before + halvings * micros(SPEED_HALF_LIFE) };
        // The core that moves the time halves the counts.
        let is_due = before == 0 || halvings > 0;
        if !is_due
            || self.halved_us.compare_exchange(before, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
            || halvings == 0
        {
            return;
        }
        for bucket in &self.buckets {
            bucket.store(halved(bucket.load(Ordering::Relaxed), halvings), Ordering::Relaxed);
        }
    }

    fn median(&self, now_us: u64) -> Option<u64> {
        let halvings = halvings(self.halved_us.load(Ordering::Relaxed), now_us);
        let counts: [u64; BUCKETS] = std::array::from_fn(|number| {
            let bucket = self.buckets.get(number).map_or(0, |bucket| bucket.load(Ordering::Relaxed));
            u64::from(halved(bucket, halvings))
        });
        let total: u64 = counts.iter().sum();
        let mut before = 0;
        for (number, count) in counts.into_iter().enumerate() {
            if before + count > total / 2 {
                let (from, width) = (bucket_start(number), bucket_width(number));
                return Some(from + width * (total / 2 - before) / count);
            }
            before += count;
        }
        None
    }
}

fn halvings(before_us: u64, now_us: u64) -> u64 {
    if before_us == 0 { 0 } else { now_us.saturating_sub(before_us) / micros(SPEED_HALF_LIFE) }
}

fn halved(count: u32, halvings: u64) -> u32 {
    u32::try_from(halvings).ok().and_then(|halvings| count.checked_shr(halvings)).unwrap_or(0)
}

fn bucket_of(took_us: u64) -> usize {
    let most = 1_u64 << (OCTAVE_FIRST as usize + OCTAVES);
    let took_us = took_us.clamp(1 << OCTAVE_FIRST, most - 1);
    let octave = took_us.ilog2();
    let step = usize::try_from((took_us >> (octave - STEP_BITS)) % STEPS as u64).unwrap_or(0);
    (octave - OCTAVE_FIRST) as usize * STEPS + step
}

const fn bucket_start(number: usize) -> u64 {
    ((STEPS + number % STEPS) as u64) << (number / STEPS + OCTAVE_FIRST as usize - STEP_BITS as usize)
}

const fn bucket_width(number: usize) -> u64 {
    1 << (number / STEPS + OCTAVE_FIRST as usize - STEP_BITS as usize)
}

type MetersByModel = HashMap<Box<str>, Arc<Meter>>;

/// The counters of all principals. A core comes here for those that it does not hold yet.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_principal: IdMap<Principal, MetersByModel>,
    count: usize,
}

impl Meters {
    /// The counters of a principal with a model. Where there is no room for more, a core counts for itself.
    pub(crate) fn of(&self, principal: Principal, model: &str) -> Arc<Meter> {
        let mut known = self.known();
        if let Some(meter) = known.find(principal, model) {
            return Arc::clone(meter);
        }
        let meter = Arc::<Meter>::default();
        if known.has_room() {
            known.by_principal.entry(principal).or_default().insert(model.into(), Arc::clone(&meter));
            known.count += 1;
        }
        meter
    }

    pub(crate) fn load(&self, principal: Principal, model: &str, now_us: u64) -> Load {
        self.known().find(principal, model).map_or_else(Load::default, |meter| meter.load(now_us))
    }

    /// Those of a principal with each model that it was asked for.
    pub(crate) fn of_principal(&self, principal: Principal, now_us: u64) -> Vec<(Box<str>, Load)> {
        let known = self.known();
        let models = known.by_principal.get(&principal).into_iter().flatten();
        models.map(|(model, meter)| (model.clone(), meter.load(now_us))).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // An entry is inserted whole, so a panic elsewhere does not corrupt the maps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn find(&self, principal: Principal, model: &str) -> Option<&Arc<Meter>> {
        self.by_principal.get(&principal)?.get(model)
    }

    /// Forgets what no core holds any more, if there is no room otherwise.
    fn has_room(&mut self) -> bool {
        if self.count < BOARD_MEASURED_MAX {
            return true;
        }
        self.by_principal.retain(|_, models| {
            models.retain(|_, meter| Arc::strong_count(meter) > 1);
            !models.is_empty()
        });
        self.count = self.by_principal.values().map(HashMap::len).sum();
        self.count < BOARD_MEASURED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::CredentialId;
    use proptest::prelude::*;

    const HALF_LIFE_US: u64 = micros(SPEED_HALF_LIFE);

    #[test]
    fn a_median_follows_what_was_measured_lately() {
        let times = Times::default();
        assert_eq!(times.median(0), None);
        for took_ms in [100, 100, 100, 900, 900] {
            times.note(took_ms * 1_000, 5);
        }
        let near = |median: Option<u64>, expected_us: u64| {
            let median = median.unwrap();
            assert!(median.abs_diff(expected_us) * 8 <= expected_us, "{median} is not near {expected_us}");
        };
        near(times.median(5), 100_000);
        // It became slow: as many later times outweigh the earlier ones.
        for _ in 0..4 {
            times.note(900_000, 5 + 2 * HALF_LIFE_US);
        }
        near(times.median(5 + 2 * HALF_LIFE_US), 900_000);
    }

    #[test]
    fn what_was_measured_long_ago_is_forgotten_without_another_time() {
        let times = Times::default();
        times.note(70_000, 1);
        assert!(times.median(1 + 7 * HALF_LIFE_US).is_some());
        assert_eq!(times.median(1 + 8 * HALF_LIFE_US), None);
        assert_eq!(times.median(u64::MAX), None);
    }

    #[test]
    fn meters_are_shared_and_bounded() {
        let meters = Meters::default();
        let principal = |number: u64| Principal::Credential(CredentialId::new(number, [1; 10]));
        let held = meters.of(principal(0), "m");
        held.enter();
        meters.of(principal(0), "m").first_byte(5_000, 1);
        for number in 1..2 * BOARD_MEASURED_MAX as u64 {
            drop(meters.of(principal(number), "m"));
        }
        assert!(meters.known().count <= BOARD_MEASURED_MAX);
        let load = meters.load(principal(0), "m", 1);
        assert_eq!(load.in_flight, 1);
        assert!(load.first_byte_us.is_some() && load.whole_us.is_none());
        held.leave();
        assert_eq!(meters.load(principal(0), "m", 1).in_flight, 0);
        assert_eq!(meters.load(principal(0), "another", 1), Load::default());
    }

    proptest! {
        #[test]
        fn a_time_is_in_its_bucket(took_us in 1_u64 << OCTAVE_FIRST..1 << 28) {
            let number = bucket_of(took_us);
            prop_assert!(number < BUCKETS);
            prop_assert!((bucket_start(number)..bucket_start(number) + bucket_width(number)).contains(&took_us));
        }

        #[test]
        fn a_median_is_among_what_was_measured(times in proptest::collection::vec(1_u64..1 << 40, 1..200)) {
            let measured = Times::default();
            times.iter().for_each(|took_us| measured.note(*took_us, 1));
            let median = measured.median(1).unwrap();
            let clamp = |took_us: u64| took_us.clamp(1 << OCTAVE_FIRST, (1 << 28) - 1);
            let mut sorted: Vec<u64> = times.iter().map(|took_us| clamp(*took_us)).collect();
            sorted.sort_unstable();
            let expected = sorted[sorted.len() / 2];
            prop_assert!(median.abs_diff(expected) * 4 <= expected, "{} is not near {}", median, expected);
        }
    }
}

//! Histograms of times, and their percentiles.

use crate::usage::Percentiles;

/// The counts of a histogram's steps, dense: long windows add thousands of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Histogram(Vec<u64>);

impl Histogram {
    pub(crate) fn count(&mut self, value: u64) {
        self.add(step_of(value), 1);
    }

    fn add(&mut self, step: u32, count: u64) {
        let index = step as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        if let Some(counted) = self.0.get_mut(index) {
            *counted += count;
        }
    }

    pub(crate) fn plus(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (counted, count) in self.0.iter_mut().zip(&other.0) {
            *counted += count;
        }
    }

    pub(crate) fn counts(&self) -> Vec<(u32, u64)> {
        (0..).zip(&self.0).filter(|(_, count)| **count > 0).map(|(step, count)| (step, *count)).collect()
    }

    /// `None` for a step that no value has.
    pub(crate) fn of_counted(counted: &[(u32, u64)]) -> Option<Self> {
        let mut steps = Self::default();
        for (step, count) in counted {
            if *step > step_of(u64::MAX) {
                return None;
            }
            steps.add(*step, *count);
        }
        Some(steps)
    }

    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        percentiles(&self.counts())
    }
}

/// The histogram step of a value, with eight steps per octave; exact below sixteen.
fn step_of(value: u64) -> u32 {
    if value < 8 {
        return u32::try_from(value).unwrap_or(0);
    }
    let octave = value.ilog2();
    let within = (value >> (octave - 3)) & 7;
    (octave - 2) * 8 + u32::try_from(within).unwrap_or(0)
}

/// The largest value of a step.
fn step_end(step: u32) -> u64 {
    if step < 8 {
        return u64::from(step);
    }
    let (octave, within) = (step / 8 + 2, u64::from(step % 8));
    let width = 1_u64 << (octave - 3).min(60);
    (8 + within).saturating_mul(width).saturating_add(width - 1)
}

/// The percentiles of `(step, count)` pairs in ascending order of steps.
fn percentiles(steps: &[(u32, u64)]) -> Option<Percentiles> {
    let total: u64 = steps.iter().map(|(_, count)| count).sum();
    if total == 0 {
        return None;
    }
    let at = |percent: u64| {
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = steps.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, |(step, _)| step_end(*step))
    };
    Some(Percentiles { p50_us: at(50), p95_us: at(95), p99_us: at(99) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_holds_what_is_put_into_it_and_is_at_most_an_eighth_wide() {
        for value in (0..5_000).chain((0..60).map(|bit| 1_u64 << bit)).chain([u64::MAX / 2]) {
            let end = step_end(step_of(value));
            assert!(end >= value, "{value} is in a step that ends at {end}");
            assert!(end - value <= value / 8, "{value} is told as {end}");
        }
        assert!((0..2_000_u64).map(step_of).is_sorted());
    }

    #[test]
    fn percentiles_are_of_ranks() {
        let steps: Vec<(u32, u64)> = (1..=100).map(|value| (value, 1)).collect();
        let found = percentiles(&steps).unwrap();
        assert_eq!((found.p50_us, found.p95_us, found.p99_us), (step_end(50), step_end(95), step_end(99)));
        assert_eq!(percentiles(&[]), None);
    }
}

//! Percentiles, and how sure they are: by order statistics, by drawing the set again, and of counts exactly.

use crate::limits::RESAMPLES_MAX;
use crate::random::Random;

/// What is exceeded with one per cent of chance on either side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// One-sided: a set in a hundred lies beyond.
const CHANCE: f64 = 0.01;
/// Of a standard normal distribution, two-sided at 95 %.
const Z_95: f64 = 1.96;

/// The value at a share of sorted ones, by the nearest rank.
pub fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).checked_sub(1)?;
    sorted.get(rank).copied()
}

/// Between which of the values the true percentile lies with 95 % of confidence, whatever they are distributed like.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#[expect(clippy::allow_attributes_without_reason, reason = "ranks are small and positive")]
pub fn percentile_bounds(sorted: &[u64], percent: usize) -> Option<(u64, u64)> {
    let last = sorted.len().checked_sub(1)?;
    let share = percent as f64 / 100.0;
    let count = sorted.len() as f64;
    let spread = Z_95 * (count * share * (1.0 - share)).sqrt();
    let rank = |at: f64| (at.max(0.0) as usize).min(last);
    let (low, high) = (rank((count * share - spread).floor()), rank((count * share + spread).ceil()));
    Some((*sorted.get(low)?, *sorted.get(high)?))
}

/// The ratio of the 95th percentiles of two sides of the same requests. Pairs are drawn together, so that what makes a request slow
/// on both sides widens no bound.
pub fn ratio_of_p95(pairs: &[(u64, u64)], seed: u64) -> Option<Bounds> {
    resampled(pairs, seed, |drawn, (before, after)| {
        before.clear();
        after.clear();
        for (one, other) in drawn {
            before.push(*one);
            after.push(*other);
        }
        ratio(p95(after)?, p95(before)?)
    })
}

/// The ratio of two sums over the same requests.
pub fn ratio_of_sums(pairs: &[(u64, u64)], seed: u64) -> Option<Bounds> {
    resampled(pairs, seed, |drawn, _| {
        let sums = drawn.iter().fold((0_u128, 0_u128), |(before, after), (one, other)| {
            (before + u128::from(*one), after + u128::from(*other))
        });
        wide_ratio(sums.1, sums.0)
    })
}

fn p95(values: &mut [u64]) -> Option<u64> {
    let rank = (values.len() * 95).div_ceil(100).checked_sub(1)?;
    if rank >= values.len() {
        return None;
    }
    Some(*values.select_nth_unstable(rank).1)
}

fn ratio(after: u64, before: u64) -> Option<f64> {
    wide_ratio(u128::from(after), u128::from(before))
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of large numbers needs no more digits")]
fn wide_ratio(after: u128, before: u128) -> Option<f64> {
    (before > 0).then(|| after as f64 / before as f64)
}

type Sides = (Vec<u64>, Vec<u64>);

fn resampled(
    pairs: &[(u64, u64)],
    seed: u64,
    of: impl Fn(&[(u64, u64)], (&mut Vec<u64>, &mut Vec<u64>)) -> Option<f64>,
) -> Option<Bounds> {
    let mut sides: Sides = (Vec::with_capacity(pairs.len()), Vec::with_capacity(pairs.len()));
    let value = of(pairs, (&mut sides.0, &mut sides.1))?;
    let mut random = Random::new(seed);
    let mut drawn = Vec::with_capacity(pairs.len());
    let mut found = Vec::with_capacity(RESAMPLES_MAX);
    for _ in 0..RESAMPLES_MAX {
        drawn.clear();
        for _ in 0..pairs.len() {
            drawn.extend(pairs.get(random.below(pairs.len())));
        }
        found.extend(of(&drawn, (&mut sides.0, &mut sides.1)));
    }
    found.sort_by(f64::total_cmp);
    let beyond = found.len() / 100;
    let low = found.get(beyond).copied().unwrap_or(value);
    let high = found.len().checked_sub(beyond + 1).and_then(|at| found.get(at)).copied().unwrap_or(value);
    // What was measured lies between, also where few values are there.
    Some(Bounds { value, low: low.min(value), high: high.max(value) })
}

/// The share of failures, exactly (Clopper and Pearson).
#[expect(clippy::cast_precision_loss, reason = "counts of requests are small")]
pub fn share(failures: u64, of: u64) -> Option<Bounds> {
    if of == 0 {
        return None;
    }
    let high = if failures >= of { 1.0 } else { solved(|p| at_most(failures, of, p) > CHANCE) };
    let low = if failures == 0 { 0.0 } else { solved(|p| 1.0 - at_most(failures - 1, of, p) < CHANCE) };
    Some(Bounds { value: failures as f64 / of as f64, low, high })
}

/// The largest share for which a falling condition holds.
fn solved(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The chance of at most so many failures of so many, each with this chance.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are small")]
fn at_most(failures: u64, of: u64, chance: f64) -> f64 {
    if chance <= 0.0 {
        return 1.0;
    }
    if chance >= 1.0 {
        return if failures >= of { 1.0 } else { 0.0 };
    }
    let (log_fail, log_hold) = (chance.ln(), (1.0 - chance).ln());
    let mut log_combinations = 0.0_f64;
    let mut sum = 0.0_f64;
    for count in 0..=failures.min(of) {
        if count > 0 {
            log_combinations += ((of - count + 1) as f64).ln() - (count as f64).ln();
        }
        sum += (log_combinations + count as f64 * log_fail + (of - count) as f64 * log_hold).exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank_and_lies_within_its_bounds() {
        let values: Vec<u64> = (1..=1_000).collect();
        for (percent, value) in [(50, 500), (95, 950), (99, 990), (100, 1_000)] {
            assert_eq!(percentile(&values, percent), Some(value), "{percent}");
        }
        let (low, high) = percentile_bounds(&values, 95).unwrap();
        assert!((930..950).contains(&low) && (951..970).contains(&high), "{low} {high}");
        assert_eq!((percentile(&[], 50), percentile_bounds(&[], 50)), (None, None));
        assert_eq!(percentile_bounds(&[7], 95), Some((7, 7)));
    }

    #[test]
    fn the_bounds_of_a_share_are_the_exact_ones() {
        // The rule of three at 99 %: 1 - 0.01^(1/n).
        let none = share(0, 300).unwrap();
        assert!((none.high - 0.015_233).abs() < 1e-5 && none.low == 0.0, "{none:?}");
        let all = share(10, 10).unwrap();
        assert!((all.low - 0.630_957).abs() < 1e-5 && (all.high - 1.0).abs() < 1e-9, "{all:?}");
        let some = share(5, 1_000).unwrap();
        assert!(
            some.low > 0.0012 && some.low < 0.0014 && some.high > 0.0128 && some.high < 0.0135,
            "{some:?}"
        );
        assert_eq!(share(0, 0), None);
    }

    #[test]
    fn a_ratio_of_equal_sides_is_one_with_no_doubt() {
        let pairs: Vec<(u64, u64)> = (1..500).map(|at| (at, at)).collect();
        for bounds in [ratio_of_p95(&pairs, 1), ratio_of_sums(&pairs, 1)] {
            assert_eq!(bounds, Some(Bounds { value: 1.0, low: 1.0, high: 1.0 }));
        }
        assert_eq!(ratio_of_p95(&[], 1), None);
        assert_eq!(ratio_of_sums(&[(0, 5)], 1), None, "nothing is a multiple of nothing");
    }
}

//! The hours of a node: how long it was up, how long of that busy, and what energy it took; counted by the node since its start,
//! and added up by the hour.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{SPREAD_HOURS_MAX, WATTS_MAX};

pub const HOUR_MS: u64 = 3_600_000;

/// The share of its time up, in per cent, for which a node must have measured its energy, so that the rest is not guessed.
const MEASURED_PERCENT_MIN: u64 = 99;

/// What a node has counted since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NodeCounters")]
pub struct Counters {
    /// Its start, by its own clock: another one says that its counters began again.
    pub since_unix_ms: u64,
    pub up_ms: u64,
    /// At least one request was being answered.
    pub busy_ms: u64,
    /// Of its processors and their memory; null if it can't be read.
    #[serde(default)]
    pub energy_mj: Option<u64>,
}

impl Counters {
    /// The same with every number changed.
    pub fn map(self, change: impl Fn(u64) -> u64) -> Self {
        Self {
            since_unix_ms: change(self.since_unix_ms),
            up_ms: change(self.up_ms),
            busy_ms: change(self.busy_ms),
            energy_mj: self.energy_mj.map(change),
        }
    }
}

/// The counters of a node as they were last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub unix_ms: u64,
    pub counters: Counters,
}

/// Sums over some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub up_ms: u64,
    /// The part of `up_ms` for which the node counted its busy time.
    pub counted_ms: u64,
    pub busy_ms: u64,
    /// The part of `up_ms` for which the node measured its energy.
    pub measured_ms: u64,
    pub measured_mj: u64,
}

/// What came since the counters were last seen, and from when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gained {
    pub from_unix_ms: u64,
    pub counts: Counts,
}

impl Counts {
    /// A node that was seen twice, and counts nothing itself.
    pub fn up(up_ms: u64) -> Self {
        Self { up_ms, ..Self::default() }
    }

    pub fn plus(&mut self, other: &Self) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.up_ms, other.up_ms);
        add(&mut self.counted_ms, other.counted_ms);
        add(&mut self.busy_ms, other.busy_ms);
        add(&mut self.measured_ms, other.measured_ms);
        add(&mut self.measured_mj, other.measured_mj);
    }

    /// The energy, if it was measured for as good as all of the time.
    pub fn energy_mj(&self) -> Option<u64> {
        let is_whole = self.measured_ms > 0
            && u128::from(self.measured_ms) * 100
                >= u128::from(self.up_ms) * u128::from(MEASURED_PERCENT_MIN);
        is_whole.then_some(self.measured_mj)
    }

    /// The busy share of the time that was counted, in thousandths.
    pub fn busy_permille(&self) -> Option<u64> {
        let busy_ms = u128::from(self.busy_ms.min(self.counted_ms));
        let permille = (busy_ms * 1_000).checked_div(u128::from(self.counted_ms))?;
        u64::try_from(permille).ok()
    }

    fn map(&self, part: impl Fn(u64) -> u64) -> Self {
        Self {
            up_ms: part(self.up_ms),
            counted_ms: part(self.counted_ms),
            busy_ms: part(self.busy_ms),
            measured_ms: part(self.measured_ms),
            measured_mj: part(self.measured_mj),
        }
    }
}

/// What a node's counters say since they were last seen. A node's clock is not trusted, and neither is a node: it was up for no
/// longer than has passed here, and for a month at most before it was first seen; busy for no longer than it was up; and drew no
/// more than any machine can.
pub fn gained(before: Option<&Seen>, now: &Counters, now_unix_ms: u64) -> Gained {
    let same = before.filter(|seen| {
        let old = seen.counters;
        old.since_unix_ms == now.since_unix_ms && old.up_ms <= now.up_ms && old.busy_ms <= now.busy_ms
    });
    let began_unix_ms = now_unix_ms.saturating_sub(now.up_ms);
    // A new run can't have begun before the last one was seen.
    let from_unix_ms = match (same, before) {
        (Some(seen), _) => seen.unix_ms,
        (None, Some(seen)) => began_unix_ms.max(seen.unix_ms),
        (None, None) => began_unix_ms.max(now_unix_ms.saturating_sub(SPREAD_HOURS_MAX * HOUR_MS)),
    };
    let passed_ms = now_unix_ms.saturating_sub(from_unix_ms);
    let old = same.map(|seen| seen.counters);
    let up_ms = now.up_ms.saturating_sub(old.map_or(0, |old| old.up_ms)).min(passed_ms);
    let busy_ms = now.busy_ms.saturating_sub(old.map_or(0, |old| old.busy_ms)).min(up_ms);
    let energy_mj = match (now.energy_mj, old) {
        (Some(now_mj), None) => Some(now_mj),
        // Readable only now: for what part of the run is not known.
        (Some(now_mj), Some(old)) => old.energy_mj.and_then(|old_mj| now_mj.checked_sub(old_mj)),
        (None, _) => None,
    };
    let counts = Counts {
        up_ms,
        counted_ms: up_ms,
        busy_ms,
        measured_ms: energy_mj.map_or(0, |_| up_ms),
        // A watt for a millisecond is a millijoule.
        measured_mj: energy_mj.unwrap_or(0).min(up_ms.saturating_mul(WATTS_MAX.into())),
    };
    Gained { from_unix_ms: from_unix_ms.min(now_unix_ms), counts }
}

/// Spreads what came between two moments evenly over the hours between them, by the number of each hour since 1970; the sum stays
/// the same. What goes back further than a month is put into that month.
pub fn spread(gained: &Gained, until_unix_ms: u64) -> Vec<(u64, Counts)> {
    let last = until_unix_ms / HOUR_MS;
    let earliest_ms = last.saturating_sub(SPREAD_HOURS_MAX - 1) * HOUR_MS;
    let from_ms = gained.from_unix_ms.clamp(earliest_ms.min(until_unix_ms), until_unix_ms);
    let length_ms = u128::from(until_unix_ms - from_ms);
    // The part of a total that lies before a moment; differences of it add up to the total.
    let before = |total: u64, moment_ms: u64| -> u64 {
        let passed = u128::from(moment_ms.clamp(from_ms, until_unix_ms) - from_ms);
        match (u128::from(total) * passed).checked_div(length_ms) {
            Some(part) => u64::try_from(part).unwrap_or(total),
            None => 0,
        }
    };
    (from_ms / HOUR_MS..=last)
        .filter_map(|hour| {
            let part = |total: u64| {
                let end = if hour == last { total } else { before(total, (hour + 1) * HOUR_MS) };
                end - before(total, hour * HOUR_MS)
            };
            let counts = gained.counts.map(part);
            (counts != Counts::default()).then_some((hour, counts))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counters(since_unix_ms: u64, up_ms: u64, busy_ms: u64, energy_mj: Option<u64>) -> Counters {
        Counters { since_unix_ms, up_ms, busy_ms, energy_mj }
    }

    fn seen(unix_ms: u64, counters: Counters) -> Seen {
        Seen { unix_ms, counters }
    }

    #[test]
    fn what_came_since_is_the_difference_within_a_run_and_all_of_a_new_one() {
        let before = seen(100_000, counters(7, 60_000, 10_000, Some(500)));
        let next = gained(Some(&before), &counters(7, 90_000, 25_000, Some(900)), 130_000);
        assert_eq!(next.from_unix_ms, 100_000);
        let expected = Counts {
            up_ms: 30_000,
            counted_ms: 30_000,
            busy_ms: 15_000,
            measured_ms: 30_000,
            measured_mj: 400,
        };
        assert_eq!(next.counts, expected);
        // It was started again ten seconds ago.
        let again = gained(Some(&before), &counters(8, 10_000, 1_000, Some(90)), 130_000);
        assert_eq!((again.from_unix_ms, again.counts.up_ms, again.counts.measured_mj), (120_000, 10_000, 90));
        let first = gained(None, &counters(8, 10_000, 1_000, None), 130_000);
        assert_eq!(
            (first.from_unix_ms, first.counts.busy_ms, first.counts.energy_mj()),
            (120_000, 1_000, None)
        );
    }

    #[test]
    fn a_node_is_not_up_for_longer_than_has_passed() {
        let before = seen(100_000, counters(7, 0, 0, None));
        let fast = gained(Some(&before), &counters(7, 900_000, 800_000, None), 130_000);
        assert_eq!((fast.counts.up_ms, fast.counts.busy_ms), (30_000, 30_000));
        let older = gained(Some(&before), &counters(9, 900_000, 5, None), 130_000);
        assert_eq!((older.from_unix_ms, older.counts.up_ms), (100_000, 30_000), "the last run was seen then");
        let backwards = gained(Some(&before), &counters(7, 10, 0, None), 90_000);
        assert_eq!(
            (backwards.from_unix_ms, backwards.counts.up_ms),
            (90_000, 0),
            "the clock here was set back"
        );
    }

    #[test]
    fn what_a_node_says_first_is_bounded() {
        let liar = counters(u64::MAX, u64::MAX, u64::MAX, Some(u64::MAX));
        let month_ms = SPREAD_HOURS_MAX * HOUR_MS;
        let first = gained(None, &liar, 2 * month_ms);
        assert_eq!(
            (first.from_unix_ms, first.counts.up_ms, first.counts.busy_ms),
            (month_ms, month_ms, month_ms)
        );
        assert_eq!(first.counts.measured_mj, month_ms * 1_000_000, "a megawatt is more than a machine draws");
    }

    #[test]
    fn energy_that_becomes_readable_within_a_run_counts_from_then_on() {
        let before = seen(100_000, counters(7, 0, 0, None));
        let now = gained(Some(&before), &counters(7, 30_000, 0, Some(70)), 130_000);
        assert_eq!((now.counts.measured_ms, now.counts.energy_mj()), (0, None));
        let half = Counts { up_ms: 100, measured_ms: 50, measured_mj: 9, ..Counts::default() };
        assert_eq!(half.energy_mj(), None, "half of it is not all of it");
    }

    #[test]
    fn hours_share_what_came_by_their_length() {
        let gained = Gained { from_unix_ms: HOUR_MS - 600_000, counts: Counts::up(1_200_000) };
        let parts = spread(&gained, HOUR_MS + 600_000);
        assert_eq!(parts, [(0, Counts::up(600_000)), (1, Counts::up(600_000))]);
        assert_eq!(spread(&Gained { from_unix_ms: 5, counts: Counts::default() }, 50), []);
        let moment = Gained { from_unix_ms: 50, counts: Counts::up(7) };
        assert_eq!(spread(&moment, 50), [(0, Counts::up(7))], "no time has passed");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_by_spreading(
            from in 0_u64..10_000_000_000_000,
            length in 0_u64..10_000_000_000,
            up_ms in 0_u64..u64::MAX / 2,
            measured_mj in 0_u64..u64::MAX / 2,
        ) {
            let counts = Counts { up_ms, counted_ms: up_ms / 3, busy_ms: up_ms / 7, measured_ms: up_ms, measured_mj };
            let parts = spread(&Gained { from_unix_ms: from, counts }, from + length);
            prop_assert!(parts.len() as u64 <= SPREAD_HOURS_MAX);
            let mut sum = Counts::default();
            for (_, part) in &parts {
                sum.plus(part);
            }
            prop_assert_eq!(sum, counts);
        }

        #[test]
        fn counters_in_any_order_never_count_more_than_the_time_that_passed(
            steps in prop::collection::vec((0_u64..100_000, 0_u64..3, 0_u64..500_000, 0_u64..500_000), 1..30),
        ) {
            let (mut now, mut before, mut total) = (1_000_000_u64, None, Counts::default());
            let start = now;
            for (pause, since, up, busy) in steps {
                now += pause;
                let counters = counters(since, up, busy, Some(up));
                let got = gained(before.as_ref(), &counters, now);
                if before.is_some() {
                    prop_assert!(got.counts.up_ms <= pause);
                    total.plus(&got.counts);
                }
                prop_assert!(got.counts.busy_ms <= got.counts.up_ms);
                before = Some(seen(now, counters));
            }
            prop_assert!(total.up_ms <= now - start);
        }
    }
}

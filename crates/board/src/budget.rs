//! The retry budget of one upstream: retries may add a share to its traffic or a few a second, whichever is more.

use domain::limits::{RETRY_BUDGET_FREE_PER_S, RETRY_BUDGET_PERCENT};

use domain::limits::RETRY_BUDGET_KEPT;
use domain::timeline::micros;

/// One retry, in the budget's unit: a hundredth of a millionth, so that percent and microseconds are exact.
const RETRY: u64 = 100_000_000;

/// A token bucket that first attempts and time fill and that retries empty; pure, with time passed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    level: u64,
    filled_us: u64,
    /// What first attempts put in, and time has not yet: the free retries are a part of the share, and not beside it.
    ahead: u64,
    /// This core's share of the free retries: one in this many.
    cores: u64,
}

impl RetryBudget {
    /// Starts with a full second's free retries, so that a fresh process may retry at all.
    pub fn new(cores: u32, now_us: u64) -> Self {
        let cores = u64::from(cores.max(1));
        let level = (u64::from(RETRY_BUDGET_FREE_PER_S) * RETRY / cores).max(RETRY);
        Self { level, filled_us: now_us, ahead: 0, cores }
    }

    /// A first attempt was sent.
    pub fn first_try(&mut self) {
        let share = u64::from(RETRY_BUDGET_PERCENT) * (RETRY / 100);
        self.level = self.level.saturating_add(share).min(self.level_max());
        // Not more than a second's, so that an upstream without traffic is soon left its free retries again.
        let second = u64::from(RETRY_BUDGET_FREE_PER_S) * RETRY / self.cores;
        self.ahead = self.ahead.saturating_add(share).min(second);
    }

    /// Takes one retry, or refuses it.
    pub fn take_retry(&mut self, now_us: u64) -> bool {
        self.fill(now_us);
        if self.level < RETRY {
            return false;
        }
        self.level -= RETRY;
        true
    }

    fn fill(&mut self, now_us: u64) {
        let passed = now_us.saturating_sub(self.filled_us).min(micros(RETRY_BUDGET_KEPT));
        self.filled_us = self.filled_us.max(now_us);
        let free = passed * (RETRY / 1_000_000) * u64::from(RETRY_BUDGET_FREE_PER_S) / self.cores;
        let shared = free.min(self.ahead);
        self.ahead -= shared;
        self.level = self.level.saturating_add(free - shared).min(self.level_max());
    }

    fn level_max(&self) -> u64 {
        let kept_s = RETRY_BUDGET_KEPT.as_secs();
        (u64::from(RETRY_BUDGET_FREE_PER_S) * kept_s * RETRY / self.cores).max(RETRY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn retries_never_exceed_the_share_and_the_free_ones(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..50_000), 1..2_000)
        ) {
            let mut budget = RetryBudget::new(1, 0);
            let (mut now, mut first, mut retries) = (0_u64, 0_u64, 0_u64);
            for (is_retry, pause) in steps {
                now += pause;
                if is_retry {
                    retries += u64::from(budget.take_retry(now));
                } else {
                    first += 1;
                    budget.first_try();
                }
                let free = u64::from(RETRY_BUDGET_FREE_PER_S);
                let allowed = first * u64::from(RETRY_BUDGET_PERCENT) / 100 + free * now / 1_000_000 + free + 2;
                prop_assert!(retries <= allowed, "{retries} retries, {allowed} allowed");
            }
        }
    }

    #[test]
    fn busy_upstreams_have_the_share_alone_and_quiet_ones_their_free_retries() {
        for (per_s, percent) in [(400_u64, 21), (100, 21), (50, 22), (20, 52)] {
            let mut budget = RetryBudget::new(1, 0);
            let firsts = per_s * 60;
            let retries: u64 = (1..=firsts)
                .map(|number| {
                    budget.first_try();
                    let now_us = number * 1_000_000 / per_s;
                    (0..3).map(|_| u64::from(budget.take_retry(now_us))).sum::<u64>()
                })
                .sum();
            assert!(retries * 100 <= firsts * percent, "{per_s} a second: {retries} beside {firsts}");
            assert!(retries * 5 >= firsts && retries >= 600, "{per_s} a second: {retries} beside {firsts}");
        }
    }

    #[test]
    fn a_storm_is_refused_and_quiet_time_gives_retries_back() {
        let mut budget = RetryBudget::new(1, 0);
        let granted = (0..1_000).filter(|_| budget.take_retry(0)).count();
        assert_eq!(granted, 10);
        assert!(!budget.take_retry(1_000));
        assert!(budget.take_retry(200_000));
    }
}

//! A circuit breaker: a pure state machine, time passed in.

use domain::limits::{BREAKER_OPEN_FIRST, BREAKER_OPEN_MAX, BREAKER_TRIAL_MAX};
use domain::timeline::micros;

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    /// No request passes before this time.
    Open {
        until_us: u64,
    },
    /// One trial request may pass.
    HalfOpen,
    /// The trial request is in flight; another may pass after this time.
    Trial {
        until_us: u64,
    },
}

/// Each opening without a success in between is longer than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breaker {
    openings: u32,
    open_until_us: u64,
    trial_until_us: u64,
}

impl Breaker {
    pub const fn state(&self, now_us: u64) -> BreakerState {
        if self.openings == 0 {
            return BreakerState::Closed;
        }
        if now_us < self.open_until_us {
            return BreakerState::Open { until_us: self.open_until_us };
        }
        if now_us < self.trial_until_us {
            return BreakerState::Trial { until_us: self.trial_until_us };
        }
        BreakerState::HalfOpen
    }

    /// How often it opened without a success in between.
    pub const fn openings(&self) -> u32 {
        self.openings
    }

    /// Takes the half-open trial. `false` if it isn't half open.
    pub fn try_half_open(&mut self, now_us: u64) -> bool {
        if self.state(now_us) != BreakerState::HalfOpen {
            return false;
        }
        self.trial_until_us = now_us.saturating_add(micros(BREAKER_TRIAL_MAX));
        true
    }

    /// Returns the half-open trial unused, because its client went away.
    pub const fn release(&mut self) {
        self.trial_until_us = 0;
    }

    /// Opens it, for twice as long as the last time.
    pub fn open(&mut self, now_us: u64) {
        let length = micros(BREAKER_OPEN_FIRST) << self.openings.min(16);
        self.open_until_us = now_us.saturating_add(length.min(micros(BREAKER_OPEN_MAX)));
        self.openings = self.openings.saturating_add(1);
        self.trial_until_us = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened_at(now_us: u64) -> Breaker {
        let mut breaker = Breaker::default();
        breaker.open(now_us);
        breaker
    }

    #[test]
    fn one_try_passes_when_the_time_is_over_and_the_next_opening_is_twice_as_long() {
        let mut breaker = opened_at(0);
        let later = micros(BREAKER_OPEN_FIRST);
        assert_eq!(breaker.state(later - 1), BreakerState::Open { until_us: later });
        assert!(breaker.try_half_open(later));
        assert!(!breaker.try_half_open(later), "a second try does not pass");
        breaker.open(later);
        assert_eq!(breaker.state(later), BreakerState::Open { until_us: 3 * later });
    }

    #[test]
    fn a_try_that_was_given_back_can_be_taken_again() {
        let mut breaker = opened_at(0);
        let later = micros(BREAKER_OPEN_FIRST);
        assert!(breaker.try_half_open(later));
        breaker.release();
        assert!(breaker.try_half_open(later));
    }

    proptest! {
        #[test]
        fn no_opening_is_longer_than_its_bound(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..200_000_000), 1..200)
        ) {
            let (mut breaker, mut now) = (Breaker::default(), 0);
            for (opens, pause) in steps {
                now += pause;
                if opens {
                    breaker.open(now);
                } else {
                    breaker.try_half_open(now);
                }
                if let BreakerState::Open { until_us } = breaker.state(now) {
                    prop_assert!(until_us <= now + micros(BREAKER_OPEN_MAX));
                }
            }
        }
    }
}

//! When the breaker of a host, a region, a credential or a model opens: pure, with time passed in.

use domain::limits::{BREAKER_FAILURES, OUTLIER_PERCENT, OUTLIER_REQUESTS_MIN, OUTLIER_WINDOW};
use domain::timeline::micros;

use crate::breaker::{Breaker, BreakerState};

/// One failed attempt, as the breaker of a group learns of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberFailure {
    /// Who of the group failed: of a host or a region the principal, of a credential the model.
    pub member: u64,
    /// It says something about the whole group, whoever it was: the host could not be reached at all.
    pub is_of_all: bool,
}

/// Which members failed: one alone has a breaker of its own, and says nothing about the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Failed {
    count: u32,
    of_all: u32,
    first: Option<u64>,
    are_several: bool,
}

impl Failed {
    fn add(&mut self, failure: MemberFailure) {
        self.count = self.count.saturating_add(1);
        self.of_all = self.of_all.saturating_add(u32::from(failure.is_of_all));
        let first = *self.first.get_or_insert(failure.member);
        self.are_several |= first != failure.member;
    }

    /// The failures that say something about the group.
    const fn evidence(self) -> u32 {
        if self.are_several { self.count } else { self.of_all }
    }
}

/// The attempts that failed lately, among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecentFailures {
    pub failed: u32,
    pub attempts: u32,
}

/// Why a breaker opened: so many failures, in a row or among so many requests within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpeningCause {
    pub failures: u32,
    /// `None` for failures in a row.
    pub among: Option<u32>,
    /// No connection could be opened at all.
    pub is_unreachable: bool,
}

/// The breaker of a group, which opens after consecutive failures or a large share of failures, if they are
/// of several members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlier {
    breaker: Breaker,
    opened_us: u64,
    /// Since when it is not closed, and why.
    opening: Option<(u64, OpeningCause)>,
    /// Since the last success.
    in_a_row: Failed,
    /// Within the window, which begins with a failure.
    in_window: Failed,
    window_requests: u32,
    window_from_us: u64,
}

impl Outlier {
    pub const fn state(&self, now_us: u64) -> BreakerState {
        self.breaker.state(now_us)
    }

    /// Takes the half-open trial. `false` if it isn't half open.
    pub fn try_half_open(&mut self, now_us: u64) -> bool {
        self.breaker.try_half_open(now_us)
    }

    /// Returns the half-open trial unused.
    pub const fn release(&mut self) {
        self.breaker.release();
    }

    /// An attempt that started at `entered_us` was answered. An answer to what was sent before the breaker
    /// opened does not close it: of a host that fails half of its requests, the other half arrives too.
    pub fn succeed(&mut self, entered_us: u64, now_us: u64) {
        self.in_a_row = Failed::default();
        self.window_requests = self.window_requests.saturating_add(1);
        let is_closed = self.breaker.state(now_us) == BreakerState::Closed;
        if !is_closed && entered_us >= self.opened_us {
            *self = Self::default();
        } else if is_closed && self.is_window_over(now_us) {
            self.in_window = Failed::default();
            self.window_requests = 0;
        }
    }

    /// An attempt failed. `true` if the breaker opened for it.
    pub fn fail(&mut self, failure: MemberFailure, now_us: u64) -> bool {
        if self.in_window.count == 0 || self.is_window_over(now_us) {
            (self.in_window, self.window_requests, self.window_from_us) = (Failed::default(), 0, now_us);
        }
        self.in_a_row.add(failure);
        self.in_window.add(failure);
        self.window_requests = self.window_requests.saturating_add(1);
        let opening = match self.breaker.state(now_us) {
            // Requests that were in flight when it opened fail too; they say nothing new.
            BreakerState::Open { .. } => None,
            BreakerState::HalfOpen | BreakerState::Trial { .. } => self.opening,
            BreakerState::Closed => self.cause().map(|cause| (now_us, cause)),
        };
        if opening.is_some() {
            self.breaker.open(now_us);
            (self.opened_us, self.opening) = (now_us, opening);
        }
        opening.is_some()
    }

    /// Since when it is not closed, and why; and how often it was opened since then.
    pub fn opening(&self) -> Option<(u64, OpeningCause, u32)> {
        self.opening.map(|(since_us, cause)| (since_us, cause, self.breaker.openings()))
    }

    /// Whether it is in its initial state, so that it can be dropped.
    pub fn is_calm(&self) -> bool {
        self.breaker == Breaker::default() && self.in_a_row.count == 0 && self.in_window.count == 0
    }

    /// How many attempts failed among how many: within the window, or since the last success.
    pub const fn failures(&self, now_us: u64) -> RecentFailures {
        if self.is_window_over(now_us) {
            return RecentFailures { failed: self.in_a_row.count, attempts: self.in_a_row.count };
        }
        RecentFailures { failed: self.in_window.count, attempts: self.window_requests }
    }

    /// Why it should open now, if it should.
    fn cause(&self) -> Option<OpeningCause> {
        let cause = |failed: Failed, among| OpeningCause {
            failures: failed.evidence(),
            among,
            is_unreachable: failed.of_all == failed.count,
        };
        if self.in_a_row.evidence() >= BREAKER_FAILURES {
            return Some(cause(self.in_a_row, None));
        }
        let failed = u64::from(self.in_window.evidence());
        let is_share = self.window_requests >= OUTLIER_REQUESTS_MIN
            && failed * 100 >= u64::from(self.window_requests) * u64::from(OUTLIER_PERCENT);
        is_share.then(|| cause(self.in_window, Some(self.window_requests)))
    }

    const fn is_window_over(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.window_from_us) > micros(OUTLIER_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::limits::BREAKER_OPEN_FIRST;
    use proptest::prelude::*;

    const fn of(member: u64) -> MemberFailure {
        MemberFailure { member, is_of_all: false }
    }

    fn fail_often(outlier: &mut Outlier, now_us: u64) {
        for number in 0..=BREAKER_FAILURES {
            outlier.fail(of(u64::from(number)), now_us);
        }
    }

    fn is_open(outlier: &Outlier, now_us: u64) -> bool {
        outlier.state(now_us) != BreakerState::Closed
    }

    #[test]
    fn one_member_alone_opens_nothing_and_two_open_it_together() {
        let mut outlier = Outlier::default();
        for _ in 0..10 * BREAKER_FAILURES {
            assert!(!outlier.fail(of(1), 5));
        }
        assert!(outlier.fail(of(2), 5), "the tenth failure and another's first");
        assert!(is_open(&outlier, 6));
    }

    #[test]
    fn failures_count_within_the_window_and_after_it_until_a_success() {
        let (mut outlier, later) = (Outlier::default(), micros(OUTLIER_WINDOW) + 2);
        outlier.succeed(0, 0);
        assert_eq!(outlier.failures(1), RecentFailures { failed: 0, attempts: 1 });
        outlier.fail(of(1), 1);
        outlier.succeed(1, 1);
        outlier.fail(of(1), 1);
        outlier.fail(of(1), 1);
        assert_eq!(outlier.failures(1), RecentFailures { failed: 3, attempts: 4 });
        assert_eq!(outlier.failures(later), RecentFailures { failed: 2, attempts: 2 });
        outlier.succeed(later, later);
        assert_eq!(outlier.failures(later), RecentFailures::default());
    }

    #[test]
    fn what_concerns_all_opens_it_whoever_met_it() {
        let mut outlier = Outlier::default();
        let away = MemberFailure { member: 1, is_of_all: true };
        let opened: Vec<bool> = (0..BREAKER_FAILURES).map(|_| outlier.fail(away, 5)).collect();
        assert_eq!(opened, [false, false, false, false, true]);
    }

    #[test]
    fn half_of_many_requests_open_it_and_a_third_does_not() {
        for (every, opens) in [(2, true), (3, false)] {
            let (mut outlier, mut opened) = (Outlier::default(), false);
            for number in 0..60_u64 {
                // Never this many in a row.
                if number % every == 0 {
                    opened |= outlier.fail(of(number % 4), number * 10_000);
                } else {
                    outlier.succeed(number * 10_000, number * 10_000);
                }
            }
            assert_eq!(opened, opens, "one in {every}");
        }
    }

    #[test]
    fn an_answer_to_what_was_sent_before_does_not_close_it_and_one_after_does() {
        let mut outlier = Outlier::default();
        fail_often(&mut outlier, 1_000);
        outlier.succeed(500, 1_001);
        assert!(is_open(&outlier, 1_002));
        outlier.succeed(1_000, 1_003);
        assert!(!is_open(&outlier, 1_004) && outlier.is_calm());
    }

    #[test]
    fn a_failed_trial_opens_it_for_twice_as_long() {
        let mut outlier = Outlier::default();
        fail_often(&mut outlier, 0);
        let later = micros(BREAKER_OPEN_FIRST);
        assert!(outlier.try_half_open(later) && !outlier.try_half_open(later), "one trial");
        assert!(outlier.fail(of(9), later));
        assert_eq!(outlier.state(later), BreakerState::Open { until_us: 3 * later });
        let cause = OpeningCause { failures: BREAKER_FAILURES, among: None, is_unreachable: false };
        assert_eq!(
            outlier.opening(),
            Some((0, cause, 2)),
            "the cause and the time are those of the first opening"
        );
        outlier.succeed(later, later);
        assert_eq!(outlier.opening(), None);
    }

    #[test]
    fn an_old_failure_is_forgotten_with_the_next_success_after_its_window() {
        let mut outlier = Outlier::default();
        outlier.fail(of(1), 0);
        outlier.succeed(1, 1);
        assert!(!outlier.is_calm());
        outlier.succeed(1, micros(OUTLIER_WINDOW) + 1);
        assert!(outlier.is_calm());
    }

    proptest! {
        #[test]
        fn it_opens_for_no_single_member_and_never_below_the_bounds(
            steps in proptest::collection::vec((0_u64..3, any::<bool>(), 0_u64..3_000_000), 1..300)
        ) {
            let (mut alone, mut all) = (Outlier::default(), Outlier::default());
            let (mut now, mut failures) = (1, 0_u32);
            for (member, succeeds, pause) in steps {
                now += pause;
                if succeeds {
                    alone.succeed(now, now);
                    all.succeed(now, now);
                } else {
                    failures += 1;
                    prop_assert!(!alone.fail(of(7), now));
                    let opened = all.fail(of(member), now);
                    prop_assert!(!opened || failures >= BREAKER_FAILURES);
                }
            }
        }
    }
}

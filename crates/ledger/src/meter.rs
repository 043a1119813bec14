//! Rate limits of one subject: token buckets that hold one minute's worth and refill evenly, and a count of
//! concurrent streams.

use std::sync::atomic::{AtomicU64, Ordering};

use domain::RateLimitState;
use domain::allowance::RATE_WINDOW_US;

const WINDOW_NS: u64 = RATE_WINDOW_US * 1_000;
const NS_PER_MS: u64 = 1_000_000;

/// A lock-free bucket (GCRA): a single number, the time at which it is full again.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    full_ns: AtomicU64,
}

impl Bucket {
    /// Takes `amount` of `limit` per minute; more than the whole bucket counts as the whole bucket.
    ///
    /// # Errors
    /// The milliseconds until that amount is available.
    pub(crate) fn take(&self, amount: u64, limit: u64, now_us: u64) -> Result<(), u64> {
        let taken = self.full_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full| {
            after_taking(full, amount, limit, now_us).ok()
        });
        taken.map(|_| ()).or_else(|full| after_taking(full, amount, limit, now_us).map(|_| ()))
    }

    /// Whether `take` would succeed now; nothing is taken.
    ///
    /// # Errors
    /// As those of `take`.
    pub(crate) fn check(&self, amount: u64, limit: u64, now_us: u64) -> Result<(), u64> {
        after_taking(self.full_ns.load(Ordering::Relaxed), amount, limit, now_us).map(|_| ())
    }

    /// Puts unused amounts back.
    pub(crate) fn refund(&self, amount: u64, limit: u64) {
        self.shift(|full| full.saturating_sub(cost_ns(amount.min(limit), limit)));
    }

    /// Takes what was used beyond the amount taken before, whether or not it is available.
    pub(crate) fn charge(&self, amount: u64, limit: u64, now_us: u64) {
        self.shift(|full| full.max(now_us.saturating_mul(1_000)).saturating_add(cost_ns(amount, limit)));
    }

    pub(crate) fn standing(&self, limit: u64, now_us: u64) -> RateLimitState {
        let used_ns = self.full_ns.load(Ordering::Relaxed).saturating_sub(now_us.saturating_mul(1_000));
        let used = (u128::from(used_ns) * u128::from(limit)).div_ceil(u128::from(WINDOW_NS));
        RateLimitState {
            limit,
            remaining: limit.saturating_sub(u64::try_from(used).unwrap_or(u64::MAX)),
            reset_ms: used_ns.div_ceil(NS_PER_MS),
        }
    }

    pub(crate) fn is_full(&self, now_us: u64) -> bool {
        self.full_ns.load(Ordering::Relaxed) <= now_us.saturating_mul(1_000)
    }

    fn shift(&self, change: impl Fn(u64) -> u64) {
        let _always =
            self.full_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full| Some(change(full)));
    }
}

/// When a bucket is full again after `amount` was taken from it, or the milliseconds until that can be taken.
fn after_taking(full_ns: u64, amount: u64, limit: u64, now_us: u64) -> Result<u64, u64> {
    let (now, cost) = (now_us.saturating_mul(1_000), cost_ns(amount.min(limit), limit));
    let next = full_ns.max(now).saturating_add(cost);
    match (next - now).checked_sub(WINDOW_NS) {
        None | Some(0) => Ok(next),
        Some(over) => Err(over.div_ceil(NS_PER_MS).max(1)),
    }
}

fn cost_ns(amount: u64, limit: u64) -> u64 {
    let cost = u128::from(WINDOW_NS) * u128::from(amount) / u128::from(limit.max(1));
    u64::try_from(cost).unwrap_or(u64::MAX)
}

/// The rate limits of one subject.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub requests: Bucket,
    pub tokens: Bucket,
    streams: AtomicU64,
}

impl Meter {
    pub(crate) fn enter(&self, limit: u64) -> bool {
        let entered = self
            .streams
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < limit).then_some(open + 1));
        entered.is_ok()
    }

    /// Whether `enter` would be refused now.
    pub(crate) fn is_crowded(&self, limit: u64) -> bool {
        self.streams.load(Ordering::Relaxed) >= limit
    }

    pub(crate) fn exit(&self) {
        let _never_below = self
            .streams
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| Some(open.saturating_sub(1)));
    }

    /// Whether it can be dropped without any effect.
    pub(crate) fn is_at_rest(&self, now_us: u64) -> bool {
        self.streams.load(Ordering::Relaxed) == 0
            && self.requests.is_full(now_us)
            && self.tokens.is_full(now_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND_US: u64 = 1_000_000;

    #[test]
    fn a_bucket_holds_a_minute_and_refills_evenly() {
        let bucket = Bucket::default();
        let now = 5 * SECOND_US;
        for left in [2, 1, 0] {
            bucket.take(1, 3, now).unwrap();
            assert_eq!(bucket.standing(3, now).remaining, left);
        }
        assert_eq!(bucket.take(1, 3, now), Err(20_000));
        assert_eq!(bucket.standing(3, now).reset_ms, 60_000);
        assert_eq!(bucket.take(1, 3, now + 19 * SECOND_US), Err(1_000));
        bucket.take(1, 3, now + 20 * SECOND_US).unwrap();
        bucket.refund(1, 3);
        bucket.take(1, 3, now + 20 * SECOND_US).unwrap();
    }

    #[test]
    fn what_was_used_beyond_the_estimate_is_made_good() {
        let bucket = Bucket::default();
        bucket.take(10, 100, 0).unwrap();
        bucket.charge(190, 100, 0);
        assert_eq!(bucket.standing(100, 0), RateLimitState { limit: 100, remaining: 0, reset_ms: 120_000 });
        assert!(bucket.take(1, 100, 60 * SECOND_US).is_err());
        bucket.take(1, 100, 61 * SECOND_US).unwrap();
        assert!(bucket.take(1_000, 100, 61 * SECOND_US).is_err());
        bucket.take(1_000, 100, 200 * SECOND_US).unwrap();
    }

    #[test]
    fn so_many_are_under_way_and_no_more() {
        let meter = Meter::default();
        assert!(meter.enter(2) && meter.enter(2) && !meter.enter(2));
        meter.exit();
        assert!(meter.enter(2) && !meter.is_at_rest(0));
        meter.exit();
        meter.exit();
        assert!(meter.is_at_rest(0));
    }

    proptest! {
        /// In any minute, at most the bucket's content and its refill in that time pass.
        #[test]
        fn no_minute_sees_more_than_the_bucket_and_its_refill(
            limit in 1_u64..50, steps in proptest::collection::vec(0_u64..5_000_000, 1..200),
        ) {
            let bucket = Bucket::default();
            let (mut now, mut passed) = (0, Vec::new());
            for step in steps {
                now += step;
                if bucket.take(1, limit, now).is_ok() {
                    passed.push(now);
                }
            }
            for start in &passed {
                let within = passed.iter().filter(|at| *at >= start && **at < start + 60 * SECOND_US).count();
                prop_assert!(within as u64 <= 2 * limit);
            }
        }
    }
}

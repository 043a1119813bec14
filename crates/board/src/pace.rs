//! Turns within the limits that were agreed with a provider, shared by all cores without a lock: a token
//! bucket for each rate, and a count of what is in flight. Time is passed in.

use std::sync::atomic::{AtomicU64, Ordering};

use domain::AgreedLimits;
use domain::limits::PACE_LOOK_EVERY;
use domain::timeline::micros;

const MINUTE_US: u64 = 60_000_000;
const DAY_US: u64 = 24 * 60 * MINUTE_US;

/// One rate. The provider's own is assumed to be a bucket, too, that is full after the window: so many at
/// once, and then as many as come back.
#[derive(Debug)]
struct Bucket {
    capacity: u64,
    window_us: u64,
    /// When it is full again. Never much ahead of the time by more than the window.
    full_us: AtomicU64,
}

impl Bucket {
    fn new(capacity: Option<u64>, window_us: u64, share: u64) -> Option<Self> {
        let capacity = (capacity? / share.max(1)).max(1);
        Some(Self { capacity, window_us, full_us: AtomicU64::new(0) })
    }

    /// How long it takes until so many have come back.
    fn refill_us(&self, units: u64) -> u64 {
        let units = u128::from(units.min(self.capacity));
        let refill = units * u128::from(self.window_us) / u128::from(self.capacity);
        u64::try_from(refill).unwrap_or(self.window_us)
    }

    /// When it has so many: now, or later. What is more than it holds needs a full one.
    fn ready_us(&self, units: u64, now_us: u64) -> u64 {
        let after = self.full_us.load(Ordering::Relaxed).max(now_us).saturating_add(self.refill_us(units));
        after.saturating_sub(self.window_us).max(now_us)
    }

    /// How many may be used now.
    fn left(&self, now_us: u64) -> u64 {
        let missing_us = self.full_us.load(Ordering::Relaxed).saturating_sub(now_us).min(self.window_us);
        let missing = u128::from(missing_us) * u128::from(self.capacity);
        let missing = missing.div_ceil(u128::from(self.window_us.max(1)));
        self.capacity.saturating_sub(u64::try_from(missing).unwrap_or(self.capacity))
    }

    fn take(&self, units: u64, now_us: u64) -> bool {
        let refill = self.refill_us(units);
        let took = self.full_us.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |full| {
            let after = full.max(now_us).saturating_add(refill);
            (after <= now_us.saturating_add(self.window_us)).then_some(after)
        });
        took.is_ok()
    }

    fn give_back(&self, units: u64) {
        let refill = self.refill_us(units);
        let _ = self
            .full_us
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |full| Some(full.saturating_sub(refill)));
    }

    /// More was used than was taken: the next ones wait for it.
    fn charge(&self, units: u64, now_us: u64) {
        let refill = self.refill_us(units);
        let most = now_us.saturating_add(2 * self.window_us);
        let _ = self.full_us.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |full| {
            Some(full.max(now_us).saturating_add(refill).min(most))
        });
    }
}

/// The agreed limits of one credential or account, and what is left of them.
#[derive(Debug)]
pub(crate) struct Pace {
    limits: AgreedLimits,
    share: u64,
    minute: Option<Bucket>,
    day: Option<Bucket>,
    tokens: Option<Bucket>,
    concurrent: Option<u64>,
    in_flight: AtomicU64,
}

/// This gateway's share of an agreed limit, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreedRate {
    pub limit: u64,
    pub left: u64,
}

/// What is left of the limits that were agreed with a provider, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    pub requests_per_minute: Option<AgreedRate>,
    pub requests_per_day: Option<AgreedRate>,
    pub tokens_per_minute: Option<AgreedRate>,
    pub concurrent_requests: Option<AgreedRate>,
    /// From when the next request may be sent; not later than now if it may now.
    pub ready_us: u64,
}

/// Whether any of the limits paces requests.
pub(crate) fn paces(limits: &AgreedLimits) -> bool {
    limits.requests_per_minute.is_some()
        || limits.paced_tokens_per_minute().is_some()
        || limits.requests_per_day.is_some()
        || limits.concurrent_requests.is_some()
}

impl Pace {
    /// `share` is the number of gateways among which the limits are split evenly.
    pub(crate) fn new(limits: AgreedLimits, share: u64) -> Self {
        Self {
            limits,
            share,
            minute: Bucket::new(limits.requests_per_minute, MINUTE_US, share),
            day: Bucket::new(limits.requests_per_day, DAY_US, share),
            tokens: Bucket::new(limits.paced_tokens_per_minute(), MINUTE_US, share),
            concurrent: limits.concurrent_requests.map(|most| (most / share.max(1)).max(1)),
            in_flight: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_of(&self, limits: &AgreedLimits, share: u64) -> bool {
        self.limits == *limits && self.share == share
    }

    /// From when a request with so many tokens may be sent; not later than `now_us` if it may now.
    pub(crate) fn ready_us(&self, tokens: u64, now_us: u64) -> u64 {
        let rates = [(&self.minute, 1), (&self.day, 1), (&self.tokens, tokens)];
        let ready =
            rates.into_iter().filter_map(|(bucket, units)| Some(bucket.as_ref()?.ready_us(units, now_us)));
        let is_full = self.concurrent.is_some_and(|most| self.in_flight.load(Ordering::Relaxed) >= most);
        // Nobody knows when one of those in flight ends.
        let slot_us = if is_full { now_us.saturating_add(micros(PACE_LOOK_EVERY)) } else { now_us };
        ready.max().unwrap_or(now_us).max(slot_us)
    }

    /// What is left of each limit, for display.
    pub(crate) fn view(&self, now_us: u64) -> Pacing {
        let rate = |bucket: &Option<Bucket>| {
            bucket.as_ref().map(|bucket| AgreedRate { limit: bucket.capacity, left: bucket.left(now_us) })
        };
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        Pacing {
            requests_per_minute: rate(&self.minute),
            requests_per_day: rate(&self.day),
            tokens_per_minute: rate(&self.tokens),
            concurrent_requests: self
                .concurrent
                .map(|limit| AgreedRate { limit, left: limit.saturating_sub(in_flight) }),
            ready_us: self.ready_us(0, now_us),
        }
    }

    /// Takes a turn, or nothing.
    pub(crate) fn take(&self, tokens: u64, now_us: u64) -> bool {
        if !self.take_slot() {
            return false;
        }
        let rates = [(&self.minute, 1), (&self.day, 1), (&self.tokens, tokens)];
        for (at, (bucket, units)) in rates.iter().enumerate() {
            if bucket.as_ref().is_none_or(|bucket| bucket.take(*units, now_us)) {
                continue;
            }
            let taken = rates.iter().take(at);
            taken.filter_map(|(bucket, units)| Some((bucket.as_ref()?, units))).for_each(
                |(bucket, units)| {
                    bucket.give_back(*units);
                },
            );
            self.end();
            return false;
        }
        true
    }

    fn take_slot(&self) -> bool {
        let most = self.concurrent.unwrap_or(u64::MAX);
        let step = |in_flight: u64| (in_flight < most).then_some(in_flight + 1);
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, step).is_ok()
    }

    /// A request that took a turn is over.
    pub(crate) fn end(&self) {
        let _ = self
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| Some(count.saturating_sub(1)));
    }

    /// Corrects what a request took for its tokens by what it used.
    pub(crate) fn correct(&self, taken: u64, used: u64, now_us: u64) {
        let Some(bucket) = &self.tokens else { return };
        if used > taken { bucket.charge(used - taken, now_us) } else { bucket.give_back(taken - used) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pace(limits: AgreedLimits) -> Pace {
        Pace::new(limits, 1)
    }

    #[test]
    fn so_many_pass_at_once_and_the_next_at_the_time_that_is_told() {
        let pace = pace(AgreedLimits { requests_per_minute: Some(3), ..AgreedLimits::default() });
        let now = 100 * MINUTE_US;
        let passed = (0..10).filter(|_| pace.take(0, now)).count();
        assert_eq!(passed, 3);
        let ready = pace.ready_us(0, now);
        assert_eq!(ready, now + MINUTE_US / 3);
        let left = |at| pace.view(at).requests_per_minute.map(|rate| (rate.limit, rate.left));
        assert_eq!(
            (left(now), left(ready), left(now + MINUTE_US)),
            (Some((3, 0)), Some((3, 1)), Some((3, 3)))
        );
        assert_eq!(pace.view(now).ready_us, ready);
        assert!(!pace.take(0, ready - 1) && pace.take(0, ready));
    }

    #[test]
    fn no_more_run_at_once_than_was_agreed() {
        let pace = pace(AgreedLimits { concurrent_requests: Some(2), ..AgreedLimits::default() });
        assert!(pace.take(0, 5) && pace.take(0, 5) && !pace.take(0, 5));
        assert!(pace.ready_us(0, 5) > 5);
        pace.end();
        assert_eq!(pace.ready_us(0, 5), 5);
        assert!(pace.take(0, 5));
    }

    #[test]
    fn tokens_are_corrected_by_what_was_used() {
        let limits = AgreedLimits { tokens_per_minute: Some(600), ..AgreedLimits::default() };
        let now = 9 * MINUTE_US;
        let (more, less) = (pace(limits), pace(limits));
        assert!(more.take(300, now) && less.take(300, now));
        more.correct(300, 600, now);
        less.correct(300, 100, now);
        assert_eq!((more.ready_us(100, now), less.ready_us(500, now)), (now + MINUTE_US / 6, now));
        assert!(less.take(500, now) && !less.take(1, now));
        // More than the bucket holds passes when it is full.
        assert!(pace(limits).take(10_000, now));
    }

    #[test]
    fn what_one_limit_refuses_takes_nothing_of_the_others() {
        let pace = pace(AgreedLimits {
            requests_per_minute: Some(10),
            requests_per_day: Some(1),
            concurrent_requests: Some(2),
            ..AgreedLimits::default()
        });
        assert!(pace.take(0, DAY_US));
        for _ in 0..20 {
            assert!(!pace.take(0, DAY_US + 1));
        }
        pace.end();
        assert_eq!(pace.in_flight.load(Ordering::Relaxed), 0);
        assert!(pace.take(0, 3 * DAY_US), "a day later");
    }

    #[test]
    fn gateways_share_evenly_and_each_has_at_least_one() {
        for (limit, share, passes) in [(10, 2, 5), (10, 3, 3), (1, 4, 1)] {
            let limits = AgreedLimits { requests_per_minute: Some(limit), ..AgreedLimits::default() };
            let pace = Pace::new(limits, share);
            assert_eq!((0..20).filter(|_| pace.take(0, DAY_US)).count(), passes, "{limit} among {share}");
        }
    }

    proptest! {
        #[test]
        fn never_more_than_the_bucket_and_what_came_back(
            limit in 1_u64..500,
            pauses in proptest::collection::vec(0_u64..400_000, 1..600),
        ) {
            let pace = pace(AgreedLimits { requests_per_minute: Some(limit), ..AgreedLimits::default() });
            let from = 50 * MINUTE_US;
            let (mut now, mut sent) = (from, 0_u64);
            for pause in pauses {
                now += pause;
                let ready = pace.ready_us(0, now);
                let took = pace.take(0, now);
                prop_assert_eq!(took, ready <= now, "the time that is told is true");
                sent += u64::from(took);
                pace.end();
                prop_assert!(sent <= limit + (now - from) * limit / MINUTE_US + 1);
            }
        }
    }
}

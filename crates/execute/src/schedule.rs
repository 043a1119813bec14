//! What follows a failed attempt: the same seat again after a pause, the next seat, or the end;
//! pure, with randomness passed in.

use std::time::Duration;

use domain::limits::{
    ATTEMPTS_MAX, BACKOFF_BASE, BACKOFF_MAX, RETRY_AFTER_WAIT_MAX, TRIES_PER_PRINCIPAL_MAX,
};
use domain::{FallbackClass, FaultClass};

/// What a class of failure allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The same request fails anywhere.
    None,
    /// Another principal may succeed; this one won't.
    NextSeat,
    /// It may pass; the same principal is worth another attempt.
    SameSeat,
}

/// What the schedule decides from.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    pub class: FaultClass,
    /// What the provider asked us to wait.
    pub retry_after_ms: Option<u64>,
    /// A cached token or a cached prompt was refused before it expired, and the next attempt has another one, or none.
    pub cached_refused: bool,
    /// What the provider said about a retry, if it said anything.
    pub should_retry: Option<bool>,
    /// Attempts on this seat, including the failed one.
    pub tries_on_seat: u32,
    /// Attempts of the exchange, including the failed one.
    pub tries: u32,
    /// The seat is not tried again where another one may serve.
    pub leaves_at_once: bool,
    /// A seat is left that this failure may go on to.
    pub has_next: bool,
    /// And that one is of the same kind: no fallback from the customer's own to the pool.
    pub has_next_own: bool,
    pub time_left: Duration,
    pub random: u64,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Again { wait: Duration },
    Next,
    GiveUp,
}

/// The retry table: a `Remedy` for each class.
pub const fn remedy(class: FaultClass) -> Remedy {
    match class {
        FaultClass::RateLimit
        | FaultClass::Overloaded
        | FaultClass::Timeout
        | FaultClass::Upstream
        | FaultClass::StreamBroken
        | FaultClass::Conflict => Remedy::SameSeat,
        FaultClass::UpstreamAuth
        | FaultClass::UpstreamPermission
        | FaultClass::UpstreamNotFound
        | FaultClass::UpstreamQuota => Remedy::NextSeat,
        FaultClass::BadRequest
        | FaultClass::Unsupported
        | FaultClass::TooLarge
        | FaultClass::ContextLength
        | FaultClass::Unauthenticated
        | FaultClass::Forbidden
        | FaultClass::NotFound
        | FaultClass::MethodNotAllowed
        | FaultClass::MediaType
        | FaultClass::NotAcceptable
        | FaultClass::Gone
        | FaultClass::ClientTimeout
        | FaultClass::Precondition
        | FaultClass::ContentPolicy
        | FaultClass::Deadline
        | FaultClass::Cancelled
        | FaultClass::Unavailable
        | FaultClass::Internal
        | FaultClass::Limited
        | FaultClass::BudgetReached
        | FaultClass::CreditsRequired => Remedy::None,
    }
}

/// Full jitter: anything between zero and an exponentially growing ceiling, so that clients don't return together.
pub fn backoff(tries_on_seat: u32, random: u64) -> Duration {
    let doublings = tries_on_seat.saturating_sub(1).min(16);
    let ceiling = BACKOFF_BASE.saturating_mul(1 << doublings).min(BACKOFF_MAX);
    let ceiling_us = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(random % ceiling_us)
}

/// How long to wait before the same seat is called again: at least what it named, plus jitter.
pub fn pause(situation: &Situation) -> Duration {
    let jitter = backoff(situation.tries_on_seat, situation.random);
    match situation.retry_after_ms {
        Some(named) => Duration::from_millis(named) + jitter.min(BACKOFF_BASE),
        None => jitter,
    }
}

/// Decides what follows a failure.
pub fn next_step(situation: &Situation) -> Step {
    let onward = if situation.has_next { Step::Next } else { Step::GiveUp };
    if situation.tries >= ATTEMPTS_MAX {
        return Step::GiveUp;
    }
    if situation.cached_refused && situation.tries_on_seat < TRIES_PER_PRINCIPAL_MAX {
        return Step::Again { wait: Duration::ZERO };
    }
    match remedy(situation.class) {
        Remedy::None => Step::GiveUp,
        Remedy::NextSeat => onward,
        Remedy::SameSeat => {
            let wait = pause(situation);
            // Another of the customer's own principals is not limited, so there is no wait for this one.
            let is_limited_alone = situation.class == FaultClass::RateLimit && situation.has_next_own;
            let is_too_long = situation.retry_after_ms.is_some_and(is_long_wait);
            let is_over = situation.tries_on_seat >= TRIES_PER_PRINCIPAL_MAX
                || situation.should_retry == Some(false)
                || wait >= situation.time_left;
            let is_left = situation.leaves_at_once && situation.has_next;
            if is_limited_alone || is_left || is_too_long || is_over { onward } else { Step::Again { wait } }
        }
    }
}

/// A wait that is too long to sit out: the next principal is tried, or the client gets the failure.
pub fn is_long_wait(wait_ms: u64) -> bool {
    Duration::from_millis(wait_ms) > RETRY_AFTER_WAIT_MAX
}

/// When the first of the upstreams that limit us takes requests again. A time that has passed
/// was waited out, and its upstream has refused again since: sent to a client, it would mean
/// that there is nothing to wait for.
pub fn earliest_ahead(known_us: Option<u64>, named_us: Option<u64>, now_us: u64) -> Option<u64> {
    let known_us = known_us.filter(|known_us| *known_us > now_us || named_us.is_none());
    match (known_us, named_us) {
        (Some(known_us), Some(named_us)) => Some(known_us.min(named_us)),
        (known_us, named_us) => known_us.or(named_us),
    }
}

/// Whether a failure may go on from the customer's own to the pool; an empty list
/// means every class that this helps.
pub fn may_fall_back(class: FaultClass, fallback_on: &[FallbackClass]) -> bool {
    FallbackClass::of(class).is_some_and(|class| fallback_on.is_empty() || fallback_on.contains(&class))
}

/// Whether a failure means that the account's provider is down. A rate limit and an unpaid bill do not:
/// emergency accounts are for neither load nor price.
pub const fn is_outage(class: FaultClass) -> bool {
    matches!(
        class,
        FaultClass::Upstream
            | FaultClass::Overloaded
            | FaultClass::Timeout
            | FaultClass::StreamBroken
            | FaultClass::UpstreamAuth
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(class: FaultClass) -> Situation {
        Situation {
            cached_refused: false,
            class,
            retry_after_ms: None,
            should_retry: None,
            tries_on_seat: 1,
            leaves_at_once: false,
            tries: 1,
            has_next: false,
            has_next_own: false,
            time_left: Duration::from_secs(600),
            random: 150_000,
        }
    }

    const AGAIN: Step = Step::Again { wait: Duration::from_millis(150) };

    #[test]
    fn steps() {
        use FaultClass::{BadRequest, Overloaded, RateLimit, Timeout, Upstream, UpstreamAuth, UpstreamQuota};
        let with_next = |class| Situation { has_next: true, has_next_own: true, ..situation(class) };
        let only_fallback = |class| Situation { has_next: true, ..situation(class) };
        let second = Duration::from_secs(1);
        let cases = [
            ("a bad request fails anywhere", with_next(BadRequest), Step::GiveUp),
            ("a refused credential is not asked again", situation(UpstreamAuth), Step::GiveUp),
            ("the next own one is", with_next(UpstreamAuth), Step::Next),
            ("an empty account is not asked again", with_next(UpstreamQuota), Step::Next),
            ("overload is waited out on the same seat first", with_next(Overloaded), AGAIN),
            ("a 500 too", with_next(Upstream), AGAIN),
            ("a timeout too", situation(Timeout), AGAIN),
            ("a limit moves on to the next own one at once", with_next(RateLimit), Step::Next),
            ("a limit is waited out before the pool is asked", only_fallback(RateLimit), AGAIN),
            (
                "what the provider names is waited",
                Situation { retry_after_ms: Some(1_000), ..situation(RateLimit) },
                Step::Again { wait: second + Duration::from_millis(150) },
            ),
            (
                "but not for long",
                Situation { retry_after_ms: Some(60_000), ..situation(RateLimit) },
                Step::GiveUp,
            ),
            (
                "then the pool is asked where it may be",
                Situation { retry_after_ms: Some(60_000), ..only_fallback(RateLimit) },
                Step::Next,
            ),
            (
                "no wait goes past the deadline",
                Situation { retry_after_ms: Some(2_000), time_left: second, ..situation(RateLimit) },
                Step::GiveUp,
            ),
            (
                "the provider's own word is taken",
                Situation { should_retry: Some(false), ..with_next(Upstream) },
                Step::Next,
            ),
            ("tries with one seat end", Situation { tries_on_seat: 3, ..with_next(Upstream) }, Step::Next),
            (
                "tries of an exchange end",
                Situation { tries: ATTEMPTS_MAX, ..with_next(Upstream) },
                Step::GiveUp,
            ),
        ];
        for (what, situation, expected) in cases {
            assert_eq!(next_step(&situation), expected, "{what}");
        }
    }

    #[test]
    fn jitter_is_full_and_its_ceiling_doubles_up_to_a_bound() {
        for (tries, ceiling_ms) in [(1, 200), (2, 400), (3, 800), (7, 8_000), (40, 8_000)] {
            let ceiling = Duration::from_millis(ceiling_ms);
            assert!(backoff(tries, u64::MAX) < ceiling);
            assert_eq!(backoff(tries, ceiling_ms * 1_000 - 1), ceiling - Duration::from_micros(1));
            assert_eq!(backoff(tries, 0), Duration::ZERO);
        }
    }

    #[test]
    fn a_wait_that_was_sat_out_is_no_wait_to_tell() {
        let cases = [
            (None, None, None),
            (None, Some(20), Some(20)),
            (Some(15), None, Some(15)),
            (Some(15), Some(20), Some(15)),
            (Some(30), Some(20), Some(20)),
            (Some(10), Some(20), Some(20)),
            (Some(5), Some(20), Some(20)),
            (Some(5), None, Some(5)),
        ];
        for (known, named, expected) in cases {
            assert_eq!(earliest_ahead(known, named, 10), expected, "{known:?} {named:?}");
        }
    }

    #[test]
    fn a_limit_and_a_bill_are_no_outage() {
        for class in
            [FaultClass::Upstream, FaultClass::Overloaded, FaultClass::Timeout, FaultClass::UpstreamAuth]
        {
            assert!(is_outage(class), "{class:?}");
        }
        for class in [
            FaultClass::RateLimit,
            FaultClass::UpstreamQuota,
            FaultClass::UpstreamNotFound,
            FaultClass::BadRequest,
        ] {
            assert!(!is_outage(class), "{class:?}");
        }
    }

    #[test]
    fn fallback_is_for_the_classes_that_were_named() {
        assert!(may_fall_back(FaultClass::UpstreamAuth, &[]));
        assert!(may_fall_back(FaultClass::UpstreamAuth, &[FallbackClass::Auth]));
        assert!(!may_fall_back(FaultClass::Upstream, &[FallbackClass::Auth]));
        assert!(!may_fall_back(FaultClass::BadRequest, &[]));
    }
}

//! Requests that end in a panic: one that has done so three times is refused for a while, so that a client that repeats it
//! doesn't go on provoking the fault.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use domain::{Fault, FaultClass};

use crate::limits::{PANICS_MAX, QUARANTINE_US_MAX, SUSPECTS_MAX};

/// How often a request ended in a panic, and when it last did; by its fingerprint.
type Suspects = HashMap<u64, (u32, u64)>;

/// Which requests ended in a panic, on all cores.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    /// Some request is refused. While none is, nothing is locked and no body is hashed.
    refuses: AtomicBool,
    suspects: Mutex<Suspects>,
    /// Its keys are this process's: a fingerprint tells nobody the content.
    hasher: RandomState,
}

impl Quarantine {
    /// Reads or changes the suspects whose time isn't over.
    fn with_suspects<R>(&self, now_us: u64, then: impl FnOnce(&mut Suspects) -> R) -> R {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.retain(|_, (_, last_us)| now_us.saturating_sub(*last_us) < QUARANTINE_US_MAX);
        let result = then(&mut suspects);
        self.refuses.store(suspects.values().any(|(panics, _)| *panics >= PANICS_MAX), Ordering::Relaxed);
        result
    }

    /// By what a repeated request is recognised.
    pub(crate) fn fingerprint(&self, request: impl Hash) -> u64 {
        self.hasher.hash_one(request)
    }

    /// Counts a panic; while the table is full, only those of the requests in it.
    pub(crate) fn suspect(&self, fingerprint: u64, now_us: u64) {
        self.with_suspects(now_us, |suspects| {
            if suspects.len() < SUSPECTS_MAX || suspects.contains_key(&fingerprint) {
                let suspect = suspects.entry(fingerprint).or_default();
                *suspect = (suspect.0.saturating_add(1), now_us);
            }
        });
    }

    /// How long a request is still refused.
    pub(crate) fn left_us(&self, fingerprint: impl FnOnce() -> u64, now_us: u64) -> Option<u64> {
        if !self.refuses.load(Ordering::Relaxed) {
            return None;
        }
        let fingerprint = fingerprint();
        let (panics, last_us) = self.with_suspects(now_us, |suspects| suspects.get(&fingerprint).copied())?;
        let left_us = QUARANTINE_US_MAX.saturating_sub(now_us.saturating_sub(last_us));
        (panics >= PANICS_MAX).then_some(left_us)
    }
}

pub(crate) fn quarantined(left_us: u64, unix_ms: u64) -> Box<Fault> {
    let left_ms = left_us.div_ceil(1_000);
    let until = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_millis(unix_ms.saturating_add(left_ms)));
    let message = format!(
        "The gateway panicked {PANICS_MAX} times over this request, which is a fault of the gateway. It refuses the same request until {until}."
    );
    let fix =
        "Change the request, and give the request ids of the earlier errors to whoever runs this gateway.";
    let fault = Fault::new(FaultClass::Internal, "request_quarantined", message).fix(fix);
    Box::new(fault.retry_after_ms(left_ms).should_retry(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_that_panicked_three_times_is_refused_and_only_for_a_while() {
        let quarantine = Quarantine::default();
        let left = |fingerprint, now_us| quarantine.left_us(|| fingerprint, now_us);
        for now_us in [1, 2] {
            quarantine.suspect(7, now_us);
            assert_eq!(quarantine.left_us(|| panic!("nothing is hashed yet"), now_us), None);
        }
        quarantine.suspect(7, 3);
        assert_eq!((left(7, 3), left(8, 3)), (Some(QUARANTINE_US_MAX), None));
        assert_eq!(left(7, 2 + QUARANTINE_US_MAX), Some(1));
        assert_eq!(left(7, 3 + QUARANTINE_US_MAX), None);
        assert!(!quarantine.refuses.load(Ordering::Relaxed), "nothing is hashed any more");
        // Panics that are far apart are not counted together.
        for round in 2..6 {
            quarantine.suspect(7, round * QUARANTINE_US_MAX);
        }
        assert_eq!(left(7, 5 * QUARANTINE_US_MAX), None);
    }

    #[test]
    fn the_suspects_are_bounded() {
        let quarantine = Quarantine::default();
        for fingerprint in 0..=SUSPECTS_MAX as u64 {
            quarantine.suspect(fingerprint, 1);
        }
        quarantine.suspect(0, 2);
        let counted =
            |now_us| quarantine.with_suspects(now_us, |suspects| (suspects.len(), suspects.get(&0).copied()));
        assert_eq!(counted(2), (SUSPECTS_MAX, Some((2, 2))));
        assert_eq!(counted(1 + QUARANTINE_US_MAX), (1, Some((2, 2))), "and forgotten");
    }
}

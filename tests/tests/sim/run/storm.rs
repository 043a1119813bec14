//! A storm of rate limits: one workspace with two credentials sends 2,000 requests per second, and one or
//! both credentials answer every second request with a 429 that names a retry time.

use domain::limits::{RETRY_BUDGET_FREE_PER_S, RETRY_BUDGET_PERCENT};
use world::SeededRandom;

use super::{Event, Report, Run};
use crate::fixture::{RULES, Rule, principals};
use crate::upstream::{Mood, Upstream};

const REQUESTS: u64 = 2_000;
const EVERY_US: u64 = 500;
const SECOND_US: u64 = 1_000_000;

/// Which credentials storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The first credential, all the time. The second can take everything.
    One,
    /// Both, all the time.
    Both,
    /// Both, for less than half a second.
    Gust,
}

/// The outcome of a storm.
#[derive(Debug)]
pub struct Storm {
    kind: Kind,
    /// Exchanges that reached a credential, and the calls that they made to it.
    requests: u64,
    calls: u64,
    retries: u64,
    /// Waits for a credential that had named a retry time, before anything was sent.
    waits: u64,
    completed: u64,
    cancelled: u64,
    /// Refused at once, if both had named a retry time, or in the end.
    failed: u64,
}

impl Run {
    pub fn storm(seed: u64) -> Storm {
        let kind = [Kind::One, Kind::Both, Kind::Gust][usize::try_from(seed % 3).expect("small")];
        let strict = RULES.iter().position(|rule| *rule == Rule::Strict).expect("there is one");
        let own = &principals()[2 * strict..2 * strict + 2];
        let (always, gust) = ((0, u64::MAX), (SECOND_US / 5, SECOND_US * 3 / 5));
        let storms = match kind {
            Kind::One => vec![(own[0], always.0, always.1)],
            Kind::Both => own.iter().map(|who| (*who, always.0, always.1)).collect(),
            Kind::Gust => own.iter().map(|who| (*who, gust.0, gust.1)).collect(),
        };
        let random = SeededRandom::new(seed ^ 0x0570_44ED);
        let mut run = Self::over(seed, false, random, Upstream::storm(Mood::Storming, &storms));
        run.only = Some(strict);
        for number in 0..REQUESTS {
            run.plan_event(number * EVERY_US, Event::Arrive(number));
        }
        run.blow(kind)
    }

    fn blow(mut self, kind: Kind) -> Storm {
        self.go_on();
        let (requests, calls) = self.truth.traffic();
        let report = self.finish();
        let Report { retries, waits, completed, cancelled, failed, .. } = report;
        Storm { kind, requests, calls, retries, waits, completed, cancelled, failed }
    }
}

impl Storm {
    /// Checks the totals. That no credential is called before its named retry time is checked with every
    /// call.
    pub fn check(&self, seed: u64) {
        let (share, free) = (u64::from(RETRY_BUDGET_PERCENT), u64::from(RETRY_BUDGET_FREE_PER_S));
        let allowed = REQUESTS * share / 100 + free * (REQUESTS * EVERY_US / SECOND_US);
        let extra = self.calls - self.requests;
        assert!(extra <= allowed, "seed {seed}: {extra} calls beside {allowed} allowed: {self:?}");
        assert!(extra > 0 && self.completed > 0, "seed {seed}: it met nothing: {self:?}");
        assert_eq!(self.completed + self.cancelled + self.failed, REQUESTS, "seed {seed}: {self:?}");
        match self.kind {
            // The other credential takes everything at once: no request waits or is refused.
            Kind::One => {
                assert_eq!((self.failed, self.waits, self.retries), (0, 0, 0), "seed {seed}: {self:?}")
            }
            Kind::Both | Kind::Gust => assert!(self.waits > 0 && self.retries > 0, "seed {seed}: {self:?}"),
        }
    }
}

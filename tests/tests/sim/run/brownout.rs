//! A brown-out: one workspace sends 400 requests per second for ten seconds, and one or both of its credentials
//! fail three calls in ten all the while.

use domain::limits::{RETRY_BUDGET_FREE_PER_S, RETRY_BUDGET_PERCENT};
use snapshot::CredentialState;
use world::SeededRandom;

use super::{Event, Report, Run};
use crate::fixture::{RULES, Rule, principals};
use crate::upstream::{Mood, Upstream};

const REQUESTS: u64 = 4_000;
const EVERY_US: u64 = 2_500;

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The only credential.
    Only,
    /// The first of two.
    First,
    /// Both of two.
    Both,
}

/// The outcome of a brown-out.
#[derive(Debug)]
pub struct Brownout {
    kind: Kind,
    /// Exchanges that reached a credential, and the calls that they made.
    requests: u64,
    calls: u64,
    retries: u64,
    /// How often an ordered alias went on with its next model.
    models_left: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
}

impl Run {
    pub fn brownout(seed: u64) -> Brownout {
        let kind = [Kind::Only, Kind::First, Kind::Both][usize::try_from(seed % 3).expect("small")];
        let strict = RULES.iter().position(|rule| *rule == Rule::Strict).expect("there is one");
        let own = &principals()[2 * strict..2 * strict + 2];
        let failing = if kind == Kind::Both { own } else { &own[..1] };
        let always: Vec<_> = failing.iter().map(|who| (*who, 0, u64::MAX)).collect();
        let random = SeededRandom::new(seed ^ 0xB20_0407);
        let mut run = Self::over(seed, false, random, Upstream::storm(Mood::BrownedOut, &always));
        if kind == Kind::Only {
            run.fixture.credential_states[2 * strict + 1] = CredentialState::Disabled;
            run.snapshot = run.fixture.snapshot();
        }
        run.only = Some(strict);
        for number in 0..REQUESTS {
            run.plan_event(number * EVERY_US, Event::Arrive(number));
        }
        run.go_on();
        let (requests, calls) = run.truth.traffic();
        let models_left = run.truth.models_left();
        let Report { retries, completed, failed, cancelled, .. } = run.finish();
        Brownout { kind, requests, calls, retries, models_left, completed, failed, cancelled }
    }
}

impl Brownout {
    /// How many calls a hundred requests make.
    pub const fn calls_percent(&self) -> u64 {
        self.calls * 100 / self.requests
    }

    /// Checks the totals. The bound of each upstream is checked with every retry.
    pub fn check(&self, seed: u64) {
        assert_eq!(self.completed + self.failed + self.cancelled, REQUESTS, "seed {seed}: {self:?}");
        let seconds = REQUESTS * EVERY_US / 1_000_000;
        let free = u64::from(RETRY_BUDGET_FREE_PER_S);
        let share = self.requests * u64::from(RETRY_BUDGET_PERCENT) / 100;
        // A budget is full for a second when it begins.
        let allowed = share + free + self.models_left;
        let extra = self.calls - self.requests;
        assert!(self.retries > 0 && extra > 0, "seed {seed}: it met nothing: {self:?}");
        match self.kind {
            Kind::Only => assert!(extra <= allowed, "seed {seed}: {extra} beside {allowed}: {self:?}"),
            // What the budget of the first leaves is taken by the second, which is well.
            Kind::First => assert_eq!(self.failed, 0, "seed {seed}: {self:?}"),
            // Each upstream has its own budget. Only retries reach the second one, so it has just its free retries.
            Kind::Both => {
                let allowed = allowed + free * (seconds + 1);
                assert!(extra <= allowed, "seed {seed}: {extra} beside {allowed}: {self:?}");
            }
        }
    }
}

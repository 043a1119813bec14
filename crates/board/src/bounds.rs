//! The board's bounds: when a breaker opens and for how long, how often a parked principal is probed, how much is kept.

use std::time::Duration;

/// So many failures in a row open a breaker.
pub const BREAKER_FAILURES: u32 = 5;
/// The first opening lasts this long, each further one without a success between twice as long.
pub const BREAKER_OPEN_FIRST: Duration = Duration::from_secs(5);
pub const BREAKER_OPEN_MAX: Duration = Duration::from_secs(120);
/// A half-open try that nobody reported on is given up after this, so that a lost one can't keep a breaker shut.
pub const BREAKER_TRIAL_MAX: Duration = Duration::from_secs(130);
/// A parked principal is probed this often, over all cores together.
pub const PARKED_PROBE_EVERY: Duration = Duration::from_secs(60);
/// A rest that a provider asks for is believed up to this.
pub const REST_MAX: Duration = Duration::from_secs(24 * 3600);
/// Unspent retries are kept for this long.
pub const RETRY_BUDGET_KEPT: Duration = Duration::from_secs(10);
/// Principals that a core keeps state of.
pub const PRINCIPALS_MAX: usize = 65_536;
/// Models of one principal that a core keeps state of; their names may come from clients.
pub const MODELS_MAX: usize = 256;
/// Upstreams that a core keeps a retry budget of.
pub const UPSTREAMS_MAX: usize = 4_096;
/// Parkings and rests that all cores share.
pub const NOTICES_MAX: usize = 16_384;

/// Whole microseconds of a duration.
#[must_use]
pub const fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros() as u64)
}

//! What a commitment's period will come to at the rates so far. Pure arithmetic on integers.

use crate::money::Nanos;

const DAY_MS: u64 = 86_400_000;
/// The last days whose rate is extrapolated.
const LAST_DAYS_MS: u64 = 7 * DAY_MS;
/// The shortest time that a rate is taken from.
const ELAPSED_MS_MIN: u64 = 3_600_000;
/// The last part of a period, in percent, in which it is told that a commitment will not be used up.
const NEAR_END_PERCENT: u64 = 10;
/// A forecast below this percentage of the commitment is told of.
const UNDER_USED_PERCENT: i128 = 95;

/// How far a commitment is used at a moment of its period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub amount: Nanos,
    pub used: Nanos,
    /// Of it, in the last seven days or since the period's start.
    pub used_lately: Nanos,
    pub start_unix_ms: u64,
    pub end_unix_ms: u64,
    pub now_unix_ms: u64,
}

/// What is used by the period's end, by each of two rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// At the average rate since the period's start.
    pub by_period: Nanos,
    /// At the rate of the last seven days.
    pub by_last_days: Nanos,
    /// When the commitment is used up at the rate of the last seven days, if that is within the period.
    pub exhausted_unix_ms: Option<u64>,
    /// What then is paid for and not used.
    pub under_used: Nanos,
}

impl Progress {
    /// Since when the last days are counted.
    pub const fn lately_since_ms(start_unix_ms: u64, now_unix_ms: u64) -> u64 {
        let since = now_unix_ms.saturating_sub(LAST_DAYS_MS);
        if since > start_unix_ms { since } else { start_unix_ms }
    }

    pub fn forecast(&self) -> Forecast {
        let left_ms = self.end_unix_ms.saturating_sub(self.now_unix_ms);
        let since = Self::lately_since_ms(self.start_unix_ms, self.now_unix_ms);
        let lately_ms = self.now_unix_ms.saturating_sub(since).max(ELAPSED_MS_MIN);
        let by_last_days = self.used.plus(share(self.used_lately, left_ms, lately_ms));
        Forecast {
            by_period: self.by_period(),
            by_last_days,
            exhausted_unix_ms: self.exhausted(lately_ms),
            under_used: Nanos(self.amount.0.saturating_sub(by_last_days.0).max(0)),
        }
    }

    /// What is paid for and not used at the average rate of the period, if its end is near enough to tell of it.
    pub fn under_used_near_end(&self) -> Option<Nanos> {
        let length_ms = self.end_unix_ms.saturating_sub(self.start_unix_ms);
        let left_ms = self.end_unix_ms.saturating_sub(self.now_unix_ms);
        let is_near = left_ms.saturating_mul(100) <= length_ms.saturating_mul(NEAR_END_PERCENT);
        let expected = self.by_period();
        let is_short = i128::from(expected.0) * 100 < i128::from(self.amount.0) * UNDER_USED_PERCENT;
        (is_near && is_short).then(|| Nanos(self.amount.0.saturating_sub(expected.0)))
    }

    fn by_period(&self) -> Nanos {
        let elapsed_ms = self.now_unix_ms.saturating_sub(self.start_unix_ms).max(ELAPSED_MS_MIN);
        let left_ms = self.end_unix_ms.saturating_sub(self.now_unix_ms);
        self.used.plus(share(self.used, left_ms, elapsed_ms))
    }

    fn exhausted(&self, lately_ms: u64) -> Option<u64> {
        let left = self.amount.0.saturating_sub(self.used.0);
        if left <= 0 || self.used_lately.0 <= 0 {
            return None;
        }
        let wait_ms = i128::from(left) * i128::from(lately_ms) / i128::from(self.used_lately.0);
        let moment = self.now_unix_ms.checked_add(u64::try_from(wait_ms).ok()?)?;
        (moment < self.end_unix_ms).then_some(moment)
    }
}

/// What comes in `left_ms` if `amount` came in `elapsed_ms`.
fn share(amount: Nanos, left_ms: u64, elapsed_ms: u64) -> Nanos {
    let part = i128::from(amount.0) * i128::from(left_ms) / i128::from(elapsed_ms.max(1));
    Nanos(i64::try_from(part).unwrap_or(i64::MAX))
}

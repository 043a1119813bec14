//! What is done to the books from time to time: days are summed, and what is too old is forgotten.

use crate::StoreFuture;

/// What a retention took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Records, where they are counted.
    pub records: u64,
    /// Weeks of records, where a whole week goes at once.
    pub weeks: u64,
}

pub trait Upkeep: Send + Sync {
    /// Sums the hours of each day that ended before `until_unix_ms` and did not begin before `from_unix_ms`, where that
    /// was not done or something came since; how many days. Long windows are read from these.
    fn sum_days(&self, from_unix_ms: u64, until_unix_ms: u64) -> StoreFuture<'_, u64>;

    /// Takes away records of exchanges that began before this moment; their sums stay. By whole weeks on PostgreSQL, by
    /// rows of some hundreds on SQLite, so some older ones stay a while.
    fn forget_records(&self, before_unix_ms: u64) -> StoreFuture<'_, Forgotten>;

    /// Takes away the sums by the minute from before this moment's hour; how many. Those of hours and days stay, so windows
    /// that begin or end before it are widened to whole hours.
    fn forget_minutes(&self, before_unix_ms: u64) -> StoreFuture<'_, u64>;
}

/// A day in minutes.
pub(crate) const DAY: u64 = 1_440;

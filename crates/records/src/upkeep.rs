//! Periodic maintenance of the books: days are summed, and retention deletes what is too old.

use database::error::StoreFuture;

/// What a retention run deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Records, where they are counted.
    pub records: u64,
    /// Weeks of records, where a whole week is dropped at once.
    pub weeks: u64,
}

pub trait Maintenance: Send + Sync {
    /// Sums the hours of each day that ended before `until_unix_ms` and did not start before `from_unix_ms`,
    /// unless it is up to date; returns how many days. Long windows are read from these sums.
    fn sum_days(&self, from_unix_ms: u64, until_unix_ms: u64) -> StoreFuture<'_, u64>;

    /// Deletes records of exchanges that started before this moment; their sums stay, but for
    /// the costs of batches that were made before. In whole weeks on
    /// PostgreSQL, in rows of some hundred records on SQLite, so some older ones stay for a while.
    fn forget_records(&self, before_unix_ms: u64) -> StoreFuture<'_, Forgotten>;

    /// Deletes the sums per minute before this moment's hour; returns how many. Sums per hour and day stay,
    /// so windows that start or end before it are widened to whole hours.
    fn forget_minutes(&self, before_unix_ms: u64) -> StoreFuture<'_, u64>;

    /// Writes the audit entries that count refusals, fallbacks and emergencies which no entry followed: of minutes and
    /// hours that began an hour before `until_unix_ms` or earlier. Each process has counts of its own.
    fn count_notes(&self, until_unix_ms: u64, now_unix_ms: u64) -> StoreFuture<'_, ()>;
}

/// A day in minutes.
pub(crate) const DAY: u64 = 1_440;

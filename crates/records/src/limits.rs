//! How many records a row, a statement, a page and a cache take.

/// Records of one packed row. A query decodes whole rows.
pub(crate) const PACKED_RECORDS_MAX: usize = 2_000;
/// Size of one packed row; the same.
pub(crate) const PACKED_BYTES_MAX: usize = 1024 * 1024;
/// Records that are scanned for one page. If few of them match, and the groups can't narrow the search, a
/// page ends early with a cursor to go on from.
pub(crate) const SCANNED_MAX: usize = 4_000;
/// Ranges of hours that one statement takes.
pub(crate) const RANGES_MAX: usize = 500;
/// Groups that a statement filters by; above this many it does not filter by group.
pub(crate) const GROUPS_NAMED_MAX: usize = 1_000;
/// Dimensions by which one usage query groups; a table of more is unreadable, and each multiplies its rows.
pub const USAGE_DIMENSIONS_MAX: usize = 3;
/// Rows of a usage answer, which is held in memory.
pub const USAGE_ROWS_MAX: u64 = 10_000;
/// Pages of records that one sum by task reads: 50,000 requests, a second's work.
pub(crate) const TASK_PAGES_MAX: usize = 50;

/// Groups in the cache; past it the cache is cleared and refilled on demand.
pub(crate) const GROUPS_CACHED_MAX: usize = 10_000;
/// Projects, keys and kinds of audit entries in the cache; past it the cache is cleared, and some entries are
/// written twice.
pub(crate) const AUDIT_NOTES_CACHED_MAX: usize = 16_384;
/// Weeks that are known to have a partition: nineteen years.
pub(crate) const WEEKS_CACHED_MAX: usize = 1_000;
/// The most that a number of a sum in a column is: two of them can be added.
pub(crate) const SUM_MAX: i64 = 1 << 62;
/// A node that two polls found counts as up between them, if they are not further apart.
pub(crate) const NODE_POLL_GAP_MAX_MS: u64 = 10 * 60 * 1_000;

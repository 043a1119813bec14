//! How far from a bucket's edge usage may be booked, and how much is named.

/// How long before or after a bucket's edge an attempt may end and still be in the provider's neighbouring bucket: providers
/// book when an answer began, when it ended or when it was counted.
pub(crate) const EDGE_S: u64 = 900;
/// How long a batch's items may be booked before or after the provider did: its deadline, with an hour for polling.
pub(crate) const BATCH_EDGE_S: u64 = 25 * 3_600;
/// Differences that are named one by one, the largest first.
pub(crate) const DIFFERENCES_MAX: usize = 200;
/// Requests that are named as examples of a bucket.
pub(crate) const EXAMPLES_MAX: usize = 3;
/// Lines of a file that are sent one by one: some 20 MB.
pub(crate) const CONDENSED_LINES_MAX: usize = 200_000;
/// Tokens by which an estimate may be off beyond its own size: what wraps the messages of a prompt, which short ones are mostly.
pub(crate) const ESTIMATED_UNITS: i128 = 16;
/// Buckets over which a surplus is followed: two and a half days of hours, or two months of days.
pub(crate) const MOVED_SLOTS_MAX: u64 = 62;

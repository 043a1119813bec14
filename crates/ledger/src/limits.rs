//! How much the journal, its drainer and its recovery hold at once, beside the limits in `domain::limits`.

use std::time::Duration;

/// Segments beyond the current one that are held ready, however many tabs are open.
pub(crate) const READY_SEGMENTS_MAX: usize = 1_024;
/// Drained segments that a core keeps for reuse; further ones are deleted.
pub(crate) const FREE_SEGMENTS_MAX: usize = 4;
/// Records that recovery writes to the store at once: each batch is a commit, and is held in memory.
pub(crate) const RECOVERY_BATCH_RECORDS_MAX: usize = 1_000;
/// The longest pause after the store refused a batch; it bounds how late a healed store gets its records.
pub(crate) const DRAIN_RETRY_MAX: Duration = Duration::from_secs(5);
/// Size of a decoded record: none is longer, and a damaged one must not exhaust memory.
pub(crate) const DECODED_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one segment that are checked for frames behind a break: many times a segment's size, at gigabytes a second.
pub(crate) const SALVAGE_CHECKED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Size of a note about a damaged journal; we write no longer one.
pub(crate) const DAMAGE_NOTE_BYTES_MAX: usize = 64 * 1024;
/// Sets of labels by which settled requests are counted for `/metrics`, beside those of `other`.
pub(crate) const LABEL_SETS_MAX: usize = 512;

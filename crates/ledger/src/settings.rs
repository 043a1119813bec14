//! How the journal behaves; the defaults are what `serve` uses.

use domain::limits::JOURNAL_SEGMENT_BYTES;

/// What an attempt waits for before the upstream sees its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A completed `write(2)`: survives the death of the process. `fdatasync` follows within `JOURNAL_SYNC_EVERY`.
    #[default]
    Written,
    /// A completed `fdatasync`: survives the loss of power too.
    Synced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalSettings {
    pub durability: Durability,
    /// Segments that the background prepares.
    pub segment_bytes: u64,
    /// The first segment of an empty directory, and one that is needed before the background has the next ready: it is
    /// written on the spot, so it is small.
    pub first_segment_bytes: u64,
    /// Threads and tasks of its own. Without them nothing happens behind the caller's back: a simulation calls
    /// `Journal::flush_now`, `JournalShared::sync_now`, `JournalShared::prepare_now` and `Drainer::drain_once`.
    pub background: bool,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            durability: Durability::Written,
            segment_bytes: JOURNAL_SEGMENT_BYTES,
            first_segment_bytes: 1024 * 1024,
            background: true,
        }
    }
}

//! The journal's settings; the defaults are what `serve` uses.

use domain::limits::JOURNAL_SEGMENT_BYTES;

/// What an attempt waits for before its first byte goes upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A completed `write(2)`: survives the death of the process. `fdatasync` follows within
    /// `JOURNAL_SYNC_EVERY`.
    #[default]
    Written,
    /// A completed `fdatasync`: survives a power loss too.
    Synced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalSettings {
    pub durability: Durability,
    /// The size of segments that the background thread prepares.
    pub segment_bytes: u64,
    /// The size of the first segment of an empty directory, and of one that is needed before the background
    /// thread has the next ready. It is allocated synchronously, so it is small.
    pub first_segment_bytes: u64,
    /// Starts the journal's own threads and tasks. Without them nothing runs in the background: a simulation
    /// calls `Journal::flush_now`, `JournalShared::sync_now`, `JournalShared::prepare_now` and
    /// `Drainer::drain_once`.
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

//! What the prefix cache on disk may have in memory and in flight.

/// Blocks that wait to be written; what comes while so much waits is not stored.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 20;
/// Fetches that wait for the reader; a further sequence computes its prompt instead.
pub(crate) const FETCHES_MAX: usize = 64;
/// What a fetch reads before it is handed over, unless a single block is larger.
pub(crate) const PORTION_BYTES_MAX: usize = 32 << 20;
/// Portions that are in memory, of all fetches together: one is read while another is taken.
pub(crate) const PORTIONS_MAX: usize = 2;

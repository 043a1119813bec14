//! What the binary queues, and what `doctor` accepts.

/// How far the database's clock may be from this machine's: as much as leases and sessions allow for.
pub(crate) const CLOCK_APART_MS_MAX: u64 = 500;
/// Calls that may wait for the system's own core; further callers wait.
pub(crate) const SYSTEM_JOBS_MAX: usize = 64;
/// Pieces of a viewed file that are buffered before they are read (backpressure).
pub(crate) const SYSTEM_PIECES_MAX: usize = 8;

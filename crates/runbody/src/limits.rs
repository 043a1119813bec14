//! Bounds of the body of a run.

/// The metadata of a run.
pub(crate) const RUN_METADATA_BYTES_MAX: usize = 16 * 1024;
/// The address that is told of a task's end.
pub(crate) const WEBHOOK_BYTES_MAX: usize = 2 * 1024;
/// The longest that a warm session may be idle, in seconds.
pub(crate) const SESSION_SECONDS_MAX: u64 = 3_600;

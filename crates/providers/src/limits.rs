//! What a provider's answer may say, beside the limits in `domain::limits`.

/// Calls in one probe, so that no server can keep it going.
pub(crate) const PROBE_CALLS_MAX: u32 = 20;
/// Length of a path in a provider's queue.
pub(crate) const QUEUE_PATH_BYTES_MAX: usize = 160;

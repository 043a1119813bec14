//! Limits of the Anthropic API on a request.

/// Requests of one batch.
pub(crate) const BATCH_REQUESTS_MAX: usize = 100_000;
/// Length of the `custom_id` of such a request.
pub(crate) const CUSTOM_ID_CHARS_MAX: usize = 64;
/// Cache breakpoints of a request, the automatic one included.
pub(crate) const CACHE_BREAKPOINTS_MAX: usize = 4;
/// Length of a tool's name.
pub(crate) const TOOL_NAME_BYTES_MAX: usize = 128;

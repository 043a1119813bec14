//! Limits of the Converse API on a request, and how much of an answer one frame carries.

/// Cache points of a request.
pub(crate) const CACHE_POINTS_MAX: usize = 4;
/// Length of a document's name.
pub(crate) const DOCUMENT_NAME_CHARS_MAX: usize = 200;
/// Length of a tool call's id.
pub(crate) const TOOL_CALL_ID_BYTES_MAX: usize = 64;
/// Length of a tool's name.
pub(crate) const TOOL_NAME_BYTES_MAX: usize = 64;
/// Pairs in `requestMetadata`.
pub(crate) const METADATA_PAIRS_MAX: usize = 16;
/// Length of a name or value in it.
pub(crate) const METADATA_CHARS_MAX: usize = 256;
/// Text that one frame carries: even when escaped, it stays far below a frame's size limit.
pub(crate) const FRAME_TEXT_BYTES_MAX: usize = 1024 * 1024;

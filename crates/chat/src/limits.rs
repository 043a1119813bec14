//! Limits of the chat API on a request.

/// Stop sequences of one request.
pub(crate) const STOP_SEQUENCES_MAX: usize = 4;
/// Switches of adapters within one answer of a node.
pub(crate) const ADAPTER_SWITCHES_MAX: usize = 32;
/// Errors of a file of requests that its batch lists.
pub(crate) const BATCH_ERRORS_MAX: usize = 100;
/// What a client may note about a batch.
pub(crate) const METADATA_MEMBERS_MAX: usize = 16;
pub(crate) const METADATA_NAME_CHARS_MAX: usize = 64;
pub(crate) const METADATA_TEXT_CHARS_MAX: usize = 512;

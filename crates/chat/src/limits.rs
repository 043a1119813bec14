//! Limits of the chat API on a request.

/// Stop sequences of one request.
pub(crate) const STOP_SEQUENCES_MAX: usize = 4;
/// Switches of adapters within one answer of a node.
pub(crate) const ADAPTER_SWITCHES_MAX: usize = 32;

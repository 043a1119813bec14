//! The error of a response body that must not look complete.

/// The stream broke off: it must not end cleanly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the generation broke off")]
pub struct NodeCut;

//! The error of a response body that must not look complete.

use std::fmt;

/// The stream broke off: it must not end cleanly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeCut;

impl fmt::Display for NodeCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the generation broke off")
    }
}

impl std::error::Error for NodeCut {}

//! Whether the process can serve, and how it is asked.

use std::sync::Arc;

/// Whether the process can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// It serves, but something needs attention.
    Degraded(String),
    /// It can't serve; the text says why.
    Not(String),
}

pub type AskReadiness = Arc<dyn Fn() -> Readiness + Send + Sync>;

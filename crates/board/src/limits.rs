//! What this crate bounds, beside the limits in `domain::limits`.

use std::time::Duration;

/// Workspaces' tables that a core holds on to; others are fetched again.
pub(crate) const PREFIX_TABLES_HELD_MAX: usize = 64;
/// How long the pace of a node counts after its last first token; then it is taken for as fast as the fastest, so that it is tried.
pub(crate) const NODE_PACE_LIFE: Duration = Duration::from_secs(120);

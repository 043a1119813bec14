//! What a core holds of prompt prefixes, beside the limits in `domain::limits`.

/// Workspaces' tables that a core holds on to; others are fetched again.
pub(crate) const PREFIX_TABLES_HELD_MAX: usize = 64;

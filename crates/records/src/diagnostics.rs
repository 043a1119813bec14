//! Reports on how well a workload's prompts are reused, kept as they were signed.

use database::handle::Database;
use domain::{DiagnosticsId, WorkspaceId};

/// A report, as JSON texts that their maker reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagnosticsRow {
    pub id: DiagnosticsId,
    pub workspace: WorkspaceId,
    pub created_unix_ms: u64,
    /// What a list shows.
    pub summary: String,
    /// The signed document; empty in lists.
    pub report: String,
}

#[derive(Clone, Copy)]
pub struct DiagnosticsReports<'a>(pub &'a Database);

//! Reports on how well a workload's prompts are reused, kept as they were signed.

use database::act::Act;
use database::error::StoreFuture;
use database::page::{Listed, Page};
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

pub trait DiagnosticsReports: Send + Sync {
    /// Keeps a report, and of its workspace's at most so many, the newest.
    fn add(&self, row: DiagnosticsRow, kept_max: u32, act: Act) -> StoreFuture<'_, ()>;
    fn get(&self, workspace: WorkspaceId, id: DiagnosticsId) -> StoreFuture<'_, DiagnosticsRow>;
    /// The newest first, without the documents.
    fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<DiagnosticsId>,
    ) -> StoreFuture<'_, Listed<DiagnosticsRow, DiagnosticsId>>;
}

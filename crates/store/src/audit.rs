//! The audit: who did what to which object, appended and never changed.

use domain::ports::AuditEntry;
use domain::{AuditId, CredentialId, TraceId, WorkspaceId};

use crate::{Listed, Page, StoreFuture};

mod queue;
pub use queue::AuditQueue;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub id: AuditId,
    pub unix_ms: u64,
    pub workspace: Option<WorkspaceId>,
    pub actor: String,
    /// Such as `credential.create`.
    pub action: String,
    pub object: String,
    pub detail: String,
    pub trace: Option<TraceId>,
}

impl AuditRow {
    #[must_use]
    pub fn new(id: AuditId, unix_ms: u64, entry: AuditEntry) -> Self {
        Self {
            id,
            unix_ms,
            workspace: entry.workspace,
            actor: entry.actor,
            action: entry.action.to_owned(),
            object: entry.object,
            detail: entry.detail,
            trace: entry.trace,
        }
    }
}

pub trait Audit: Send + Sync {
    /// Idempotent by id.
    fn append(&self, rows: Vec<AuditRow>) -> StoreFuture<'_, ()>;
    /// Newest first. Without a workspace: the operator's own entries.
    fn list(
        &self,
        workspace: Option<WorkspaceId>,
        page: Page<AuditId>,
    ) -> StoreFuture<'_, Listed<AuditRow, AuditId>>;
    /// Adds to the counts of openings.
    fn count_openings(&self, openings: Vec<(CredentialId, u64)>) -> StoreFuture<'_, ()>;
    fn openings(&self, credential: CredentialId) -> StoreFuture<'_, u64>;
}

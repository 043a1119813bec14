//! The audit: who did what to which object, appended and never changed, each workspace's a chain of hashes.

use domain::ports::AuditEntry;
use domain::{AuditId, CredentialId, TraceId, WorkspaceId};

use proof::Digest;
use proof::audit::{Entry, INSTALLATION};

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
    /// The object as the last act left it, and as this one did: a hash of what is kept of it.
    pub before: Option<Digest>,
    pub after: Option<Digest>,
    /// Its place in the chain and the chain's hash there; none until it is taken in.
    pub link: Option<Link>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub sequence: u64,
    pub hash: Digest,
}

/// The name of a workspace's chain.
#[must_use]
pub fn chain_name(workspace: Option<WorkspaceId>) -> String {
    workspace.map_or_else(|| INSTALLATION.to_owned(), |id| id.to_string())
}

impl AuditRow {
    /// The row at a place of its chain, as it is hashed.
    #[must_use]
    pub fn entry(&self, sequence: u64) -> Entry {
        Entry {
            sequence,
            id: self.id.to_string(),
            unix_ms: self.unix_ms,
            actor: self.actor.clone(),
            action: self.action.clone(),
            target: self.object.clone(),
            detail: self.detail.clone(),
            request_id: self.trace.map(|id| id.to_string()),
            before: self.before,
            after: self.after,
        }
    }

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
            before: None,
            after: None,
            link: None,
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
    /// Takes every entry in that is in no chain: those of before there were chains.
    fn link_all(&self) -> StoreFuture<'_, ()>;
    /// A stretch of a chain in its order, from a place, at most so many.
    fn stretch(
        &self,
        workspace: Option<WorkspaceId>,
        from: u64,
        rows_max: u32,
    ) -> StoreFuture<'_, Vec<AuditRow>>;
    /// How long a chain is, and its last hash.
    fn head(&self, workspace: Option<WorkspaceId>) -> StoreFuture<'_, Link>;
    /// As `head`, of every workspace's chain that there is, of those that are gone too.
    fn ends(&self, page: Page<WorkspaceId>) -> StoreFuture<'_, Listed<(WorkspaceId, Link), WorkspaceId>>;
    /// Adds to the counts of openings.
    fn count_openings(&self, openings: Vec<(CredentialId, u64)>) -> StoreFuture<'_, ()>;
    fn openings(&self, credential: CredentialId) -> StoreFuture<'_, u64>;
}

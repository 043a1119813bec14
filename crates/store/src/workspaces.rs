//! Workspaces: the tenants, which own everything else.

use database::act::{Act, Written};
use database::error::StoreFuture;
use database::page::{Listed, Page};
use domain::{CachePolicy, WorkspaceId};
use snapshot::WrappedKey;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceRow {
    pub id: WorkspaceId,
    pub name: String,
    pub caching: CachePolicy,
    pub created_unix_ms: u64,
    /// The version of this row's last change, used in `ETag` and `If-Match`. Ignored on writing.
    pub version: u64,
}

pub trait Workspaces: Send + Sync {
    fn get(&self, id: WorkspaceId) -> StoreFuture<'_, WorkspaceRow>;
    fn list(&self, page: Page<WorkspaceId>) -> StoreFuture<'_, Listed<WorkspaceRow, WorkspaceId>>;
    /// Writes `name` and `caching`; nothing else of a workspace can change.
    fn replace(
        &self,
        row: WorkspaceRow,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<WorkspaceRow>>;
    /// Refused while it has projects, credentials or nodes. Its sealing keys are deleted too, and with them
    /// everything that they sealed becomes unreadable.
    fn delete(&self, id: WorkspaceId, expected: Option<u64>, act: Act) -> StoreFuture<'_, Written<()>>;
    /// The sealing keys of one workspace, oldest first; the operator's are under the nil id.
    fn wrapped_keys(&self, id: WorkspaceId) -> StoreFuture<'_, Vec<WrappedKey>>;
}

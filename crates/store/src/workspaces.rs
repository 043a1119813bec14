//! Workspaces: the tenants, which own everything else.

use database::error::StoreFuture;
use domain::{CachePolicy, WorkspaceId};
use snapshot::WrappedKey;

use crate::resource::Resource;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceRow {
    pub id: WorkspaceId,
    pub name: String,
    pub caching: CachePolicy,
    pub created_unix_ms: u64,
    /// The version of this row's last change, used in `ETag` and `If-Match`. Ignored on writing.
    pub version: u64,
}

/// One is created with its sealing key, a first project and first keys. It is not deleted while it has projects,
/// credentials or nodes; its sealing keys are deleted with it, and everything that they sealed becomes unreadable.
pub trait Workspaces: Resource<WorkspaceRow> {
    /// The sealing keys of one workspace, oldest first; the operator's are under the nil id.
    fn wrapped_keys(&self, id: WorkspaceId) -> StoreFuture<'_, Vec<WrappedKey>>;
}

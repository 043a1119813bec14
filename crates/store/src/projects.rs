//! Projects: parts of a workspace, each with an environment and keys.

use domain::{CachePolicy, ProjectId, WorkspaceId};

use crate::{Act, Json, Listed, Page, StoreFuture, Written};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRow {
    pub id: ProjectId,
    pub workspace: WorkspaceId,
    /// Unique in its workspace.
    pub name: String,
    pub environment: String,
    pub caching: CachePolicy,
    pub metadata: Json,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

pub trait Projects: Send + Sync {
    fn create(&self, row: ProjectRow, act: Act) -> StoreFuture<'_, Written<ProjectRow>>;
    fn get(&self, workspace: WorkspaceId, id: ProjectId) -> StoreFuture<'_, ProjectRow>;
    fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<ProjectId>,
    ) -> StoreFuture<'_, Listed<ProjectRow, ProjectId>>;
    /// Projects with this name or, if `begins`, with this name prefix.
    fn named(&self, workspace: WorkspaceId, name: String, begins: bool) -> StoreFuture<'_, Vec<ProjectId>>;
    fn replace(
        &self,
        row: ProjectRow,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<ProjectRow>>;
    /// Refused while live keys, credentials or routes refer to it.
    fn delete(
        &self,
        workspace: WorkspaceId,
        id: ProjectId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
}

//! Projects: parts of a workspace, each with an environment and keys.

use database::error::StoreFuture;
use domain::{CachePolicy, ProjectId, WorkspaceId};

use crate::resource::{Json, Resource};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRow {
    pub id: ProjectId,
    pub workspace: WorkspaceId,
    /// Unique in its workspace.
    pub name: String,
    pub environment: String,
    /// Of the pages that may read its answers, with commas between them; empty for the gateway's.
    pub origins: String,
    pub caching: CachePolicy,
    pub metadata: Json,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

/// One is not deleted while live keys, credentials or routes refer to it.
pub trait Projects: Resource<ProjectRow> {
    /// Projects with this name or, if `begins`, with this name prefix.
    fn ids_by_name(
        &self,
        workspace: WorkspaceId,
        name: String,
        begins: bool,
    ) -> StoreFuture<'_, Vec<ProjectId>>;
}

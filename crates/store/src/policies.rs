//! Policies: what the requests of a project may reach; at most one per project.

use domain::{PolicyId, PolicySpec, ProjectId, WorkspaceId};

use crate::{Act, Listed, Page, StoreFuture, Written};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    pub id: PolicyId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub spec: PolicySpec,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

pub trait Policies: Send + Sync {
    /// Refused as `policy_exists`, naming the other policy, if the project has one.
    fn create(&self, row: PolicyRow, act: Act) -> StoreFuture<'_, Written<PolicyRow>>;
    fn get(&self, workspace: WorkspaceId, id: PolicyId) -> StoreFuture<'_, PolicyRow>;
    fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<PolicyId>,
    ) -> StoreFuture<'_, Listed<PolicyRow, PolicyId>>;
    /// Its project can't change.
    fn replace(&self, row: PolicyRow, expected: Option<u64>, act: Act)
    -> StoreFuture<'_, Written<PolicyRow>>;
    fn delete(
        &self,
        workspace: WorkspaceId,
        id: PolicyId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
}

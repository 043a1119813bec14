//! Policies: what the requests of a project, or of all projects of a workspace, may reach. Each has at most one,
//! which stays with it: another is refused as `policy_exists`, naming the first.

use domain::{PolicyId, PolicySpec, ProjectId, WorkspaceId};

use crate::credentials::SealedSecret;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    pub id: PolicyId,
    pub workspace: WorkspaceId,
    /// `None` for the policy of the workspace.
    pub project: Option<ProjectId>,
    pub spec: PolicySpec,
    /// A change keeps it, unless it brings the next version.
    pub hook_secret: Option<HookSecretRow>,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

/// The secret of a policy's hooks as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSecretRow {
    pub secret: SealedSecret,
    pub made_unix_ms: u64,
}

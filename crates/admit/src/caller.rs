//! `Caller`: the identity behind a request, as a value that later stages hold instead of looking up the key
//! again.

use std::sync::Arc;

use domain::{
    ContentRetention, Fault, ObjectOwner, Principal, ProjectId, SideCall, TaskId, TraceMode, WorkspaceId,
};
use snapshot::{KeyEntry, ProjectEntry, Scopes, Snapshot, WorkspaceEntry};

use crate::fault;

domain::words! {
    /// The scope that a path requires of a key.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Needs {
        /// Any valid key: what concerns the key itself.
        Known = "none",
        Inference = "inference",
        /// Read-only: usage, requests, lists. Scopes that allow changes include it.
        Read = "read",
        Admin = "admin",
        /// Reading what agents keep: by the keys that call models, and by those that read.
        ReadState = "inference or read",
        /// Writing what agents keep: by the keys that call models, and by those that manage.
        WriteState = "inference or admin",
        /// The operator's own resources.
        Operator = "operator",
    }
}

impl Needs {
    pub(crate) const fn is_met_by(self, scopes: Scopes) -> bool {
        match self {
            Self::Known => true,
            Self::Inference => scopes.inference,
            Self::Read => scopes.read || scopes.admin || scopes.operator,
            Self::Admin => scopes.admin,
            Self::ReadState => scopes.inference || Self::Read.is_met_by(scopes),
            Self::WriteState => scopes.inference || scopes.admin,
            Self::Operator => scopes.operator,
        }
    }

    /// Whether a key with these scopes may act in all projects, or in its own alone. Reading all of them does not allow changing them.
    pub const fn reaches_all(self, scopes: Scopes) -> bool {
        match self {
            Self::WriteState => Self::Admin.is_met_by(scopes),
            _ => Self::Read.is_met_by(scopes),
        }
    }
}

/// An authenticated caller. It holds the snapshot it was found in, so that one request is served from one
/// version.
#[derive(Clone)]
pub struct Caller {
    key: Option<Arc<KeyEntry>>,
    side_call: Option<SideCall>,
    task: Option<TaskId>,
    agent: Option<Arc<str>>,
    trial: Option<Principal>,
    project: Arc<ProjectEntry>,
    workspace: Arc<WorkspaceEntry>,
    snapshot: Arc<Snapshot>,
}

impl Caller {
    pub(crate) fn of_key(snapshot: Arc<Snapshot>, key: Arc<KeyEntry>) -> Option<Self> {
        let (workspace, project) = find_project(&snapshot, key.workspace, key.project)?;
        Some(Self::new(Some(key), project, workspace, snapshot))
    }

    const fn new(
        key: Option<Arc<KeyEntry>>,
        project: Arc<ProjectEntry>,
        workspace: Arc<WorkspaceEntry>,
        snapshot: Arc<Snapshot>,
    ) -> Self {
        Self { key, side_call: None, task: None, agent: None, trial: None, project, workspace, snapshot }
    }

    /// `None` for the gateway's own calls.
    pub const fn key(&self) -> Option<&Arc<KeyEntry>> {
        self.key.as_ref()
    }

    /// What it calls for, if no client asked for that.
    pub const fn side_call(&self) -> Option<SideCall> {
        self.side_call
    }

    /// The same, for a call of the gateway's own on its behalf.
    pub fn for_side_call(self, side_call: SideCall) -> Self {
        Self { side_call: Some(side_call), ..self }
    }

    /// The task that it works on, and the agent whose turn that is.
    pub fn task(&self) -> Option<(TaskId, Option<&str>)> {
        self.task.map(|task| (task, self.agent.as_deref()))
    }

    /// The same, at work on a task, or in the turn of an agent that this is. A run within a task is a part of that task.
    pub fn in_task(self, task: TaskId, agent: Option<&str>) -> Self {
        Self { task: self.task.or(Some(task)), agent: self.agent.or_else(|| agent.map(Arc::from)), ..self }
    }

    /// The only seat that may serve it, whatever the routes say: that of a candidate in a replay.
    pub const fn trial(&self) -> Option<Principal> {
        self.trial
    }

    /// The same, to be served by this seat alone. A node is tried so with requests that no route leads to it.
    pub fn tried_at(self, seat: Option<Principal>) -> Self {
        Self { trial: seat, ..self }
    }

    /// Whether its key may do what this requires.
    pub fn may(&self, needs: Needs) -> bool {
        self.key.as_ref().is_some_and(|key| needs.is_met_by(key.scopes))
    }

    pub const fn project(&self) -> &Arc<ProjectEntry> {
        &self.project
    }

    pub const fn workspace(&self) -> &Arc<WorkspaceEntry> {
        &self.workspace
    }

    /// Refuses what would delete stored content of the project while a legal hold is on it.
    ///
    /// # Errors
    /// 409, naming the hold.
    pub fn check_deletion(&self) -> Result<(), Box<Fault>> {
        self.project.legal_hold.map_or(Ok(()), |hold| Err(fault::held(hold)))
    }

    /// Who owns what is stored for the caller.
    pub fn owner(&self) -> ObjectOwner {
        ObjectOwner { workspace: self.workspace.id, project: self.project.id }
    }

    /// Whether the project's policies let nothing be retained.
    pub fn retains_nothing(&self) -> bool {
        self.project.policy.as_ref().is_some_and(|policies| policies.retains_nothing())
    }

    /// What the project keeps of its requests; `None` where that is nothing beside the metadata.
    pub fn kept_content(&self) -> Option<ContentRetention> {
        let kept = self.project.retention.filter(|kept| kept.mode != TraceMode::Metadata)?;
        (!self.retains_nothing()).then_some(kept)
    }

    /// Whether the project's policies let providers store prompts.
    pub fn lets_providers_store(&self) -> bool {
        self.project.policy.as_ref().is_none_or(|policies| policies.let_providers_store())
    }

    pub const fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The key's environment, else the project's.
    pub fn environment(&self) -> &Arc<str> {
        self.key.as_ref().map_or(&self.project.environment, |key| &key.environment)
    }
}

domain::brief_debug!(Caller, |it| key = it.key.as_ref().map(|key| key.id), project = it.project.id);

/// The caller of the gateway's own trips: without a key, and without any scope.
pub fn system(
    snapshot: Arc<Snapshot>,
    workspace: WorkspaceId,
    project: ProjectId,
    side_call: SideCall,
) -> Option<Caller> {
    let (workspace, project) = find_project(&snapshot, workspace, project)?;
    let caller = Caller::new(None, project, workspace, snapshot);
    Some(caller.for_side_call(side_call))
}

/// The caller of a request that is planned and not served: in a project of the workspace, as with one of its
/// keys, or with none.
pub fn assumed(
    snapshot: Arc<Snapshot>,
    workspace: Arc<WorkspaceEntry>,
    project: Arc<ProjectEntry>,
    key: Option<Arc<KeyEntry>>,
) -> Option<Caller> {
    let is_its =
        project.workspace == workspace.id && key.as_ref().is_none_or(|key| key.workspace == workspace.id);
    is_its.then(|| Caller::new(key, project, workspace, snapshot))
}

fn find_project(
    snapshot: &Snapshot,
    workspace: WorkspaceId,
    project: ProjectId,
) -> Option<(Arc<WorkspaceEntry>, Arc<ProjectEntry>)> {
    let workspace = snapshot.workspace(workspace)?;
    let project = workspace.projects.iter().find(|entry| entry.id == project)?;
    Some((Arc::clone(workspace), Arc::clone(project)))
}

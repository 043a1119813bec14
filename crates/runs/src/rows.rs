//! What is stored of a task, and what is done with it.

use bytes::Bytes;
use domain::{
    ContentKind, FoundTask, NewTask, ObjectOwner, ProjectId, RunTask, Sealed, TaskAgain, TaskContents,
    TaskEnd, TaskEvent, TaskId, TaskLease, TaskNotKept, TraceId, WorkspaceId,
};
use store::NewJob;
use vault::{ContentRef, Vault, VaultError};

domain::words! {
    /// Which content of a task it is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum TaskPart by by_name {
        Request = "request",
        Result = "result",
        /// What a running task has so far.
        Partial = "partial",
    }
}

/// Sealed content of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskContent {
    pub part: TaskPart,
    pub digest: [u8; 32],
    pub project: ProjectId,
    pub request: TraceId,
    pub sealed: Sealed,
}

impl TaskContent {
    /// Seals a part of a task.
    pub fn seal(
        vault: &Vault,
        (owner, id): (ObjectOwner, TaskId),
        part: TaskPart,
        content: &[u8],
    ) -> Result<Self, VaultError> {
        let digest = vault.requests.of_task_part(id, part.as_str());
        let request = TraceId::from_uuid(*id.as_uuid());
        let sealed = vault.sealer.seal_content(&content_ref(owner, digest, request), content)?;
        Ok(Self { part, digest, project: owner.project, request, sealed })
    }

    /// `None` if it does not open any more.
    pub fn open(&self, vault: &Vault, workspace: WorkspaceId) -> Option<Bytes> {
        let owner = ObjectOwner { workspace, project: self.project };
        let opened = vault.opener.open_content(&content_ref(owner, self.digest, self.request), &self.sealed);
        opened.ok().map(|opened| Bytes::copy_from_slice(opened.expose()))
    }

    /// The opened contents of a task.
    pub fn open_all(contents: &[Self], vault: &Vault, workspace: WorkspaceId) -> TaskContents {
        let part = |part| contents.iter().find(|content| content.part == part)?.open(vault, workspace);
        TaskContents {
            request: part(TaskPart::Request),
            result: part(TaskPart::Result),
            partial: part(TaskPart::Partial),
        }
    }
}

const fn content_ref(owner: ObjectOwner, digest: [u8; 32], request: TraceId) -> ContentRef {
    let ObjectOwner { workspace, project } = owner;
    ContentRef { kept: ContentKind::Task, workspace, project, digest, request }
}

/// A worker's request for tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskClaim {
    pub worker: String,
    pub unix_ms: u64,
    pub lease_ms: u64,
    pub limit: u32,
    /// How many tasks of one workspace run at most, whichever worker has them.
    pub of_workspace_max: u64,
    /// The workspace that was served last.
    pub after: WorkspaceId,
}

/// A task that a worker took, with its sealed request; `None` where that was purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedTask {
    pub task: RunTask,
    pub request: Option<TaskContent>,
}

/// A task that a worker still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldTask {
    pub id: TaskId,
    pub tries: u32,
    pub is_cancelled: bool,
}

/// One write of many that share a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskWrite {
    Keep {
        new: Box<NewTask>,
        contents: Vec<TaskContent>,
    },
    Progress {
        lease: TaskLease,
        event: Option<TaskEvent>,
        partial: Option<TaskContent>,
        unix_ms: u64,
    },
    /// The job tells somebody of the end.
    Finish {
        lease: TaskLease,
        end: Box<TaskEnd>,
        result: TaskContent,
        job: Option<Box<NewJob>>,
    },
    Requeue {
        lease: TaskLease,
        again: Box<TaskAgain>,
    },
    /// Replaces the result of a task that has ended.
    Amend {
        owner: ObjectOwner,
        id: TaskId,
        result: TaskContent,
    },
}

impl TaskWrite {
    /// Keeps a task that has ended, with its sealed contents.
    pub fn keep_ended(task: RunTask, contents: Vec<TaskContent>) -> Self {
        let new = NewTask { task, contents: TaskContents::default(), open_max: None };
        Self::Keep { new: Box::new(new), contents }
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Kept(Result<(), TaskNotKept>),
    /// Whether its worker still held the task, or a task that has ended is there.
    Held(bool),
}

/// A task as it is found, its contents sealed.
pub type FoundRow = (RunTask, Vec<TaskContent>);

impl Written {
    /// # Errors
    /// Why a task was not kept.
    pub const fn kept(self) -> Result<(), TaskNotKept> {
        match self {
            Self::Kept(kept) => kept,
            Self::Held(_) => Err(TaskNotKept::StoreUnavailable),
        }
    }

    pub const fn is_held(self) -> bool {
        matches!(self, Self::Held(true))
    }
}

/// What was found, opened.
pub fn opened(found: Option<FoundRow>, vault: &Vault) -> FoundTask {
    found.map_or(FoundTask::Unknown, |(task, contents)| {
        let contents = TaskContent::open_all(&contents, vault, task.owner.workspace);
        FoundTask::Known(Box::new((task, contents)))
    })
}

//! What is stored of a run of a flow, of its steps and of its events.

use domain::{ContentKind, FlowId, FlowRunId, KeyId, ObjectOwner, ProjectId, Sealed, TraceId};
use serde_json::Value;
use vault::{ContentRef, Vault, VaultError};

/// The names of a run's parts of content.
pub mod part {
    pub const DOCUMENT: &str = "document";
    pub const INPUT: &str = "input";
    pub const OUTPUT: &str = "output";

    pub fn of_step(path: &str) -> String {
        format!("step {path}")
    }

    pub fn of_event(number: u64) -> String {
        format!("event {number}")
    }
}

domain::words! {
    /// Where a run is for the workers.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum RunState by by_name {
        Queued = "queued",
        Running = "running",
        Waiting = "waiting",
        Paused = "paused",
        Ended = "ended",
    }
}

domain::words! {
    /// Where a step is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum StepStatus by by_name {
        Pending = "pending",
        Running = "running",
        Waiting = "waiting",
        Completed = "completed",
        Failed = "failed",
        Skipped = "skipped",
        Blocked = "blocked",
        Cancelled = "cancelled",
    }
}

domain::words! {
    /// What drives a run: the workers of our own queue, or a Restate server that calls the gateway.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum FlowEngine by by_name {
        Queue = "queue",
        Restate = "restate",
    }
}

domain::words! {
    /// What somebody wants of a run that a worker has.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Wish by by_name {
        Cancel = "cancel",
        Pause = "pause",
    }
}

impl StepStatus {
    pub const fn has_ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Running | Self::Waiting)
    }
}

domain::words! {
    /// The status of a run. Its numbers are those that clients read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(u8)]
    pub enum RunStatus by by_name {
        Pending(1) = "pending",
        Running(2) = "running",
        Completed(3) = "completed",
        Failed(4) = "failed",
        Cancelled(5) = "cancelled",
    }
}

impl RunStatus {
    pub const fn code(self) -> u8 {
        self as u8
    }

    pub fn by_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|status| u32::from(status.code()) == code)
    }
}

/// A run, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    pub id: FlowRunId,
    pub owner: ObjectOwner,
    pub request: TraceId,
    /// The key that its steps are made with, and that pays for them.
    pub key: KeyId,
    pub name: String,
    /// The declared flow, with the number of its version.
    pub flow: Option<(FlowId, u64)>,
    /// The run and step that this is a sub-flow of.
    pub parent: Option<(FlowRunId, String)>,
    pub depth: u32,
    pub replay_of: Option<FlowRunId>,
    pub state: RunState,
    pub status: RunStatus,
    pub budget_nanos: Option<i64>,
    pub cost_nanos: i64,
    pub created_unix_ms: u64,
    pub updated_unix_ms: u64,
    pub due_unix_ms: u64,
    pub started_unix_ms: Option<u64>,
    pub ended_unix_ms: Option<u64>,
    pub until_unix_ms: u64,
    pub wish: Option<Wish>,
    pub error_code: Option<String>,
    pub engine: FlowEngine,
    /// Counts what happens to it.
    pub changes: u64,
}

impl RunRow {
    /// A run that waits for a worker of the queue: of no declared flow, and with no bound of its cost.
    pub fn queued(
        (id, owner, request): (FlowRunId, ObjectOwner, TraceId),
        key: KeyId,
        name: String,
        (now_unix_ms, until_unix_ms): (u64, u64),
    ) -> Self {
        Self {
            id,
            owner,
            request,
            key,
            name,
            flow: None,
            parent: None,
            depth: 0,
            replay_of: None,
            state: RunState::Queued,
            status: RunStatus::Pending,
            budget_nanos: None,
            cost_nanos: 0,
            created_unix_ms: now_unix_ms,
            updated_unix_ms: now_unix_ms,
            due_unix_ms: now_unix_ms,
            started_unix_ms: None,
            ended_unix_ms: None,
            until_unix_ms,
            wish: None,
            error_code: None,
            engine: FlowEngine::Queue,
            changes: 0,
        }
    }
}

/// A step of a run, or one iteration of it, without what it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    pub path: String,
    pub kind: String,
    pub status: StepStatus,
    pub tries: u32,
    pub started_unix_ms: Option<u64>,
    pub ended_unix_ms: Option<u64>,
    /// In which order the steps of the run ended.
    pub place: Option<u64>,
    pub cost_nanos: Option<i64>,
    /// The task or the run that it began.
    pub began: Option<String>,
    pub error_code: Option<String>,
}

impl StepRow {
    pub fn new(path: String, kind: &str, status: StepStatus) -> Self {
        Self {
            path,
            kind: kind.to_owned(),
            status,
            tries: 0,
            started_unix_ms: None,
            ended_unix_ms: None,
            place: None,
            cost_nanos: None,
            began: None,
            error_code: None,
        }
    }
}

/// An event that a run was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    pub number: u64,
    pub name: String,
    pub taken_by: Option<String>,
}

/// Sealed content of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowContent {
    pub part: String,
    pub digest: [u8; 32],
    pub project: ProjectId,
    pub request: TraceId,
    pub sealed: Sealed,
}

impl FlowContent {
    pub fn seal(
        vault: &Vault,
        (owner, id, request): (ObjectOwner, FlowRunId, TraceId),
        part: String,
        content: &Value,
    ) -> Result<Self, VaultError> {
        let digest = vault.requests.of_flow_part(id, &part);
        let text = serde_json::to_vec(content).unwrap_or_default();
        let sealed = vault.sealer.seal_content(&content_ref(owner, digest, request), &text)?;
        Ok(Self { part, digest, project: owner.project, request, sealed })
    }

    /// `None` if it does not open any more.
    pub fn open(&self, vault: &Vault, owner: ObjectOwner) -> Option<Value> {
        let owner = ObjectOwner { project: self.project, ..owner };
        let opened = vault.opener.open_content(&content_ref(owner, self.digest, self.request), &self.sealed);
        serde_json::from_slice(opened.ok()?.expose()).ok()
    }
}

const fn content_ref(owner: ObjectOwner, digest: [u8; 32], request: TraceId) -> ContentRef {
    let ObjectOwner { workspace, project } = owner;
    ContentRef { kept: ContentKind::Flow, workspace, project, digest, request }
}

/// A run to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    pub run: RunRow,
    pub contents: Vec<FlowContent>,
    /// Steps that have ended already, where a run takes over those of another.
    pub steps: Vec<StepRow>,
}

impl NewRun {
    /// A run of this document on this input.
    pub fn sealed(vault: &Vault, run: RunRow, document: &Value, input: &Value) -> Result<Self, VaultError> {
        let of = (run.owner, run.id, run.request);
        let contents = [(part::DOCUMENT, document), (part::INPUT, input)]
            .map(|(part, content)| FlowContent::seal(vault, of, part.to_owned(), content));
        let contents = contents.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { run, contents, steps: Vec::new() })
    }
}

/// A worker's request for runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunClaim {
    pub engine: FlowEngine,
    pub worker: String,
    pub unix_ms: u64,
    pub lease_ms: u64,
    pub limit: u32,
    pub of_workspace_max: u64,
    /// The workspace that was served last.
    pub after: domain::WorkspaceId,
}

/// A worker's hold on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLease {
    pub id: FlowRunId,
    pub owner: ObjectOwner,
    pub request: TraceId,
    pub worker: String,
}

/// A run that a worker still holds, with what others want of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldRun {
    pub id: FlowRunId,
    pub wish: Option<Wish>,
    pub events: u64,
}

/// All that is stored of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadedRun {
    pub steps: Vec<StepRow>,
    pub events: Vec<EventRow>,
    pub contents: Vec<FlowContent>,
}

/// How a step is now, with what it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepWrite {
    pub step: StepRow,
    pub content: Option<FlowContent>,
    /// The number of the event that it took.
    pub takes: Option<u64>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    pub status: RunStatus,
    pub error_code: Option<String>,
    pub output: Option<FlowContent>,
    pub unix_ms: u64,
    pub until_unix_ms: u64,
}

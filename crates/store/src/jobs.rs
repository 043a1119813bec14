//! The rows of the durable queue: asked for in the transaction of the act that wants them, leased to one worker at a time.

use domain::WorkspaceId;

use crate::{Json, StoreFuture};

/// Whose the installation's own jobs are.
pub const OURS: WorkspaceId = WorkspaceId::from_uuid(uuid::Uuid::nil());

/// A job as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub kind: &'static str,
    /// Takes turns with the other workspaces.
    pub workspace: WorkspaceId,
    /// At most one job of a name; asking again moves it to the new time.
    pub name: Option<String>,
    pub payload: Json,
    pub run_unix_ms: u64,
    pub every_ms: Option<u64>,
    /// Now.
    pub unix_ms: u64,
}

/// A job that a worker has taken.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    pub id: i64,
    pub kind: String,
    pub workspace: WorkspaceId,
    pub name: Option<String>,
    pub payload: Json,
    pub run_unix_ms: u64,
    pub every_ms: Option<u64>,
    /// How often it was taken, this time included.
    pub attempts: u32,
    pub last_error: Option<String>,
    pub created_unix_ms: u64,
}

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub worker: String,
    pub unix_ms: u64,
    pub lease_ms: u64,
    pub limit: usize,
    /// How many of each workspace it runs already, and how many of one it runs at most.
    pub running: Vec<(WorkspaceId, usize)>,
    pub of_workspace_max: usize,
    /// The workspace whose turn was last.
    pub after: WorkspaceId,
}

/// A worker's hold on a job. It is worth nothing once another worker has taken the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub job: i64,
    pub worker: String,
    pub attempt: u32,
}

/// What becomes of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Done for good.
    Gone,
    /// Done, and due again then.
    Due { unix_ms: u64 },
    /// Not done: tried again then.
    Again { unix_ms: u64, error: String },
    /// Given up, and kept to be looked at.
    Dead { error: String },
}

pub trait Jobs: Send + Sync {
    /// For work that no act of the store causes.
    fn enqueue(&self, job: NewJob) -> StoreFuture<'_, ()>;
    /// Leases jobs whose time has come, in turns between the workspaces. A job whose worker's lease is over is taken like
    /// any other.
    fn claim(&self, claim: Claim) -> StoreFuture<'_, Vec<JobRow>>;
    /// Whether the hold still holds; it does until then.
    fn extend(&self, hold: Hold, until_unix_ms: u64) -> StoreFuture<'_, bool>;
    /// Whether the hold still held: if not, somebody else decides.
    fn settle(&self, hold: Hold, ending: Ending) -> StoreFuture<'_, bool>;
    /// Lets go of everything that a worker holds which is known to be dead, and says how much that was.
    fn release(&self, worker: String) -> StoreFuture<'_, u64>;
    /// What was given up, oldest first.
    fn dead(&self, limit: u32) -> StoreFuture<'_, Vec<JobRow>>;
    /// How many wait, are ready, run, and were given up.
    fn counts(&self) -> StoreFuture<'_, JobCounts>;
    /// Forgets what was given up before then.
    fn forget_dead(&self, before_unix_ms: u64) -> StoreFuture<'_, u64>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobCounts {
    pub waiting: u64,
    pub ready: u64,
    pub running: u64,
    pub dead: u64,
}

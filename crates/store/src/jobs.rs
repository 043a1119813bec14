//! The durable job queue's rows: enqueued in the transaction of the act that needs them, leased to one worker
//! at a time.

use database::handle::Database;
use domain::{TraceId, WorkspaceId};

use crate::resource::Json;
pub use crate::sql::jobs::enqueue;

/// The nil workspace, which owns the installation's own jobs.
pub const INSTALLATION: WorkspaceId = WorkspaceId::from_uuid(uuid::Uuid::nil());

/// A job to enqueue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub kind: &'static str,
    /// Workspaces are served round-robin.
    pub workspace: WorkspaceId,
    /// At most one job exists per name; enqueueing it again moves it to the new time.
    pub name: Option<String>,
    pub payload: Json,
    pub run_unix_ms: u64,
    pub every_ms: Option<u64>,
    /// Now.
    pub unix_ms: u64,
}

impl NewJob {
    /// The installation's recurring job of a kind. Its name is fixed: enqueueing it again moves it to now.
    pub fn recurring(kind: &'static str, every_ms: u64, unix_ms: u64) -> Self {
        Self {
            kind,
            workspace: INSTALLATION,
            name: Some(format!("schedule:{kind}")),
            payload: Json::Null,
            run_unix_ms: unix_ms,
            every_ms: Some(every_ms),
            unix_ms,
        }
    }
}

/// A job that a worker has leased.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    pub id: i64,
    pub kind: String,
    pub workspace: WorkspaceId,
    pub name: Option<String>,
    pub payload: Json,
    pub run_unix_ms: u64,
    pub every_ms: Option<u64>,
    /// How often it was leased, this time included.
    pub attempts: u32,
    pub last_error: Option<String>,
    pub created_unix_ms: u64,
}

/// A worker's request for jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobClaim {
    pub worker: String,
    pub unix_ms: u64,
    pub lease_ms: u64,
    pub limit: usize,
    /// How many jobs of each workspace the worker already runs, and how many of one workspace it runs at
    /// most.
    pub running: Vec<(WorkspaceId, usize)>,
    pub of_workspace_max: usize,
    /// The workspace that was served last.
    pub after: WorkspaceId,
}

/// A worker's lease on a job. It is void once another worker has taken the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLease {
    pub job: i64,
    pub worker: String,
    pub attempt: u32,
}

/// The outcome of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobResult {
    /// Done for good.
    Gone,
    /// Done, and due again then.
    Rescheduled { unix_ms: u64 },
    /// Failed: to be retried then.
    Retry { unix_ms: u64, error: String },
    /// Given up, and retained for inspection.
    Dead { error: String },
}

/// The kinds of jobs that poll what a provider does asynchronously, until its usage is recorded.
pub const BATCHES_POLL: &str = "batches.poll";
pub const VIDEOS_POLL: &str = "videos.poll";
pub const RESPONSES_POLL: &str = "responses.poll";

/// The name of the job that polls the response which this request made; that of another object is its id.
pub fn response_poll_name(request: TraceId) -> String {
    format!("{RESPONSES_POLL}:{request}")
}

#[derive(Clone, Copy)]
pub struct Jobs<'a>(pub &'a Database);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobCounts {
    pub waiting: u64,
    pub ready: u64,
    pub running: u64,
    pub dead: u64,
}

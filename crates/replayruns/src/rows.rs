//! Replay runs as they are stored: what was wanted, how far they are, and the shapes of their requests.

use domain::{NodeId, ProjectId, ReplayRunId, WorkspaceId};
use replay::{Agreement, Gates, ReplayKind, Trace};
use serde::{Deserialize, Serialize};

/// The kind of job on the durable queue.
pub const REPLAY_JOB: &str = "replay.run";

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum RunState {
        Queued = "queued",
        Running = "running",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

impl RunState {
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

domain::words! {
    /// Where the content of the replayed requests comes from.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum ReplayContent {
        /// As the requests had it, where their project kept that; made up for the others.
        Kept = "kept",
        #[default]
        Synthetic = "synthetic",
    }
}

/// Which stored requests make the set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SetFilter {
    pub since_unix_ms: u64,
    pub until_unix_ms: u64,
    pub project: Option<String>,
    pub model: Option<String>,
    pub key: Option<String>,
    pub route: Option<String>,
    pub alias: Option<String>,
    #[serde(default)]
    pub kind: ReplayKind,
    pub requests_max: u32,
}

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// A model, an alias or a release of one.
    pub model: String,
    /// The node that serves it, whatever the routes say.
    pub node: Option<NodeId>,
    pub cost_per_hour_micros: Option<u64>,
}

/// The models that compare answers with the kept ones, beside their words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Comparison {
    pub embedding_model: Option<String>,
    pub judge_model: Option<String>,
}

/// What a run was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    pub set: SetFilter,
    pub content: ReplayContent,
    pub candidate: Candidate,
    #[serde(default)]
    pub comparison: Comparison,
    /// In thousandths of the recorded speed; `None` as fast as `at_once` lets it.
    pub speed_milli: Option<u32>,
    pub at_once: u32,
    pub gates: Gates,
    pub valid_days: u32,
    /// Of what is made up and drawn.
    pub seed: u64,
}

/// The set that was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DrawnSet {
    /// Requests that match, up to as many as are read.
    pub matched: u64,
    pub taken: u64,
    /// Of all that match, in their busiest minute.
    pub busiest_tokens_per_minute: u64,
    pub span_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRunRow {
    pub id: ReplayRunId,
    pub workspace: WorkspaceId,
    pub spec: RunSpec,
    pub state: RunState,
    pub drawn: Option<DrawnSet>,
    pub error: Option<String>,
    pub verdict: Option<String>,
    pub scheduled_unix_ms: u64,
    pub started_unix_ms: Option<u64>,
    pub ended_unix_ms: Option<u64>,
    pub expires_unix_ms: Option<u64>,
    pub created_unix_ms: u64,
    pub version: u64,
}

/// A request that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTrace {
    pub position: u64,
    pub trace: Trace,
    pub due_ms: u64,
    pub tries: u32,
}

/// What came of one, beside its meter record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceResult {
    /// The id of its own exchange.
    pub exchange: String,
    pub status: u16,
    pub started_unix_ms: u64,
    pub ended_unix_ms: u64,
    pub is_kept_content: bool,
    /// With the kept answer, where both are known.
    pub agreement: Option<Agreement>,
}

/// A request with what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedTrace {
    pub trace: Trace,
    pub result: TraceResult,
}

/// Whether traffic moves onto nodes on evidence alone, and what that must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateSettings {
    pub is_gated: bool,
    pub gates: Gates,
    pub version: u64,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self { is_gated: true, gates: Gates::default(), version: 0 }
    }
}

/// The project that a trace names.
pub fn project_of(trace: &Trace) -> Option<ProjectId> {
    trace.project.parse().ok()
}

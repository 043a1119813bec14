//! Flows as apps run them: found by name, begun as a run, looked at, and cancelled.

use bytes::Bytes;

use crate::ids::{FlowId, FlowRunId, KeyId, TraceId};
use crate::ports::PortFuture;
use crate::stored_object::ObjectOwner;

/// One version of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFlow {
    pub id: FlowId,
    pub number: u64,
    /// As JSON.
    pub document: Bytes,
}

/// The result of looking up a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundFlow {
    Known(Box<StoredFlow>),
    Unknown,
    StoreUnavailable,
}

/// A run to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowStart {
    pub id: FlowRunId,
    pub owner: ObjectOwner,
    pub request: TraceId,
    /// The key that its steps are made with.
    pub key: KeyId,
    pub flow: StoredFlow,
    /// As JSON.
    pub input: Bytes,
}

/// Why a run was not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowNotStarted {
    /// Its document or its input does not hold: the reason.
    Invalid(String),
    TooManyRuns,
    StoreUnavailable,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowProgress {
    Running,
    /// The output, as JSON.
    Completed(Bytes),
    /// The code of its error.
    Failed(String),
    Cancelled,
    /// There is none.
    Gone,
    StoreUnavailable,
}

/// Knows the flows of projects, and begins their runs.
pub trait FlowStore: Send + Sync {
    /// The flow of a project with a name: one of its versions, or the newest.
    fn find(&self, owner: ObjectOwner, name: String, version: Option<u64>) -> PortFuture<'static, FoundFlow>;
    /// The newest version of each flow of a project, by name; `None` if the store does not answer.
    fn all(&self, owner: ObjectOwner) -> PortFuture<'static, Option<Vec<(String, StoredFlow)>>>;
    /// Begins a run, unless it was begun before.
    fn begin(&self, start: FlowStart) -> PortFuture<'static, Result<(), FlowNotStarted>>;
    fn progress(&self, owner: ObjectOwner, id: FlowRunId) -> PortFuture<'static, FlowProgress>;
    /// `false` where the store can't be written.
    fn cancel(&self, owner: ObjectOwner, id: FlowRunId) -> PortFuture<'static, bool>;
}

/// No flows: where nobody declares any.
#[derive(Debug, Clone, Copy)]
pub struct NoFlows;

impl FlowStore for NoFlows {
    fn find(
        &self,
        _owner: ObjectOwner,
        _name: String,
        _version: Option<u64>,
    ) -> PortFuture<'static, FoundFlow> {
        Box::pin(async { FoundFlow::Unknown })
    }

    fn all(&self, _owner: ObjectOwner) -> PortFuture<'static, Option<Vec<(String, StoredFlow)>>> {
        Box::pin(async { Some(Vec::new()) })
    }

    fn begin(&self, _start: FlowStart) -> PortFuture<'static, Result<(), FlowNotStarted>> {
        Box::pin(async { Err(FlowNotStarted::StoreUnavailable) })
    }

    fn progress(&self, _owner: ObjectOwner, _id: FlowRunId) -> PortFuture<'static, FlowProgress> {
        Box::pin(async { FlowProgress::Gone })
    }

    fn cancel(&self, _owner: ObjectOwner, _id: FlowRunId) -> PortFuture<'static, bool> {
        Box::pin(async { true })
    }
}

//! What the runs of one worker share, and what each leaves.

use std::sync::Arc;

use domain::FlowRunId;
use domain::ports::PortFuture;
use flowruns::{StoredFlows, StoredRuns};
use futures_util::stream::FuturesUnordered;
use line::LiveTasks;
use runs::StoredTasks;
use tokio::sync::Notify;

use crate::Deps;

/// What the runs of one worker share.
pub(crate) struct Shared {
    pub deps: Deps,
    pub runs: StoredRuns,
    pub flows: StoredFlows,
    pub tasks: StoredTasks,
    pub live: Arc<LiveTasks>,
    /// Notified of new tasks.
    pub task_arrivals: Arc<Notify>,
}

/// What a run leaves when it is put down.
pub(crate) struct Driven {
    pub id: FlowRunId,
    pub costs: FuturesUnordered<PortFuture<'static, ()>>,
}

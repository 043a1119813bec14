//! What the runs of one worker share, and what each leaves.

use std::sync::Arc;

use domain::FlowRunId;
use domain::ports::PortFuture;
use flowruns::{StoredFlows, StoredRuns};
use futures_util::stream::FuturesUnordered;
use line::LiveTasks;
use runs::StoredTasks;
use tasks::Task;
use tokio::sync::{Notify, oneshot};

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

/// Runs a future as a task of its own, which ends when the result is not wanted any more. One that is only polled while its owner
/// waits for it could hold a connection of the database that its owner waits for elsewhere. `None` where it panicked.
pub fn on_its_own<T: Send + 'static>(
    name: &'static str,
    future: PortFuture<'static, T>,
) -> PortFuture<'static, Option<T>> {
    let (sender, made) = oneshot::channel();
    let task = Task::spawn(name, async move {
        // Who does not wait any more needs no answer.
        let _ = sender.send(future.await);
    });
    Box::pin(async move {
        let made = made.await.ok();
        drop(task);
        made
    })
}

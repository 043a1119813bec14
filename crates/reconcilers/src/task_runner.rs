//! Works through the queue of tasks: takes those that are due, fairly between workspaces, has each made on a serving core, and
//! renews the leases meanwhile. A task whose process dies is taken again, by whichever process finds its lease over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::PortFuture;
use domain::{TaskId, TraceId, WorkspaceId};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use line::{LiveTasks, TaskCall};
use runs::{ClaimedTask, StoredTasks, TaskClaim};
use tasks::Task;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::limits::{TASK_GOODBYE_MAX, TASKS_AT_ONCE, TASKS_CLAIMED_MAX};
use crate::{Deps, milliseconds};

/// How long a task is a worker's without a renewal.
const LEASE: Duration = Duration::from_secs(15);
/// How often leases are renewed, upon which cancellations by other processes are found.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How often the queue is looked at where nothing arrives in this process.
const POLL_EVERY: Duration = Duration::from_millis(250);

/// The worker of one process.
pub struct TaskRunner {
    deps: Deps,
    stored: StoredTasks,
    arrivals: Arc<Notify>,
    live: Arc<LiveTasks>,
    at_once_of_workspace: u64,
}

/// A running worker.
pub struct TaskRunnerHandle(Task);

impl TaskRunnerHandle {
    /// Takes no more tasks, gives running ones a moment to end, and puts the rest back.
    pub async fn stop(self) {
        if self.0.end().await.is_err() {
            tracing::error!("the worker of tasks ended by a panic");
        }
    }
}

/// The tasks that are made now.
#[derive(Default)]
struct AtWork {
    making: FuturesUnordered<PortFuture<'static, TaskId>>,
    /// Which try of each.
    tries: HashMap<TaskId, u32>,
    /// The workspace that was served last.
    last: Option<WorkspaceId>,
}

impl TaskRunner {
    /// At most `at_once_of_workspace` tasks of one workspace run at once, whichever process makes them.
    pub fn new(deps: Deps, arrivals: Arc<Notify>, live: Arc<LiveTasks>, at_once_of_workspace: u64) -> Self {
        let stored = runs::stored(&deps.store);
        Self { deps, stored, arrivals, live, at_once_of_workspace }
    }

    /// Starts on the caller's runtime.
    pub fn start(self) -> TaskRunnerHandle {
        TaskRunnerHandle(Task::spawn_until_signal("run tasks", |stopped| self.run(stopped)))
    }

    async fn run(self, mut stopped: watch::Receiver<bool>) {
        // No other live process has this name: whatever it holds is from before it died.
        self.release().await;
        let mut at_work = AtWork::default();
        let mut renewed = Instant::now();
        while !*stopped.borrow() {
            let has_more = self.take(&mut at_work).await;
            if renewed.elapsed() >= RENEW_EVERY && !at_work.tries.is_empty() {
                self.renew(at_work.tries.clone()).await;
                renewed = Instant::now();
            }
            tokio::select! {
                _ = stopped.changed() => {}
                Some(ended) = at_work.making.next(), if !at_work.making.is_empty() => {
                    at_work.tries.remove(&ended);
                }
                () = self.arrivals.notified(), if at_work.has_room() => {}
                () = sleep(POLL_EVERY), if !has_more => {}
                () = std::future::ready(()), if has_more => {}
            }
            at_work.collect();
        }
        let rest = async { while at_work.making.next().await.is_some() {} };
        let _ = timeout(TASK_GOODBYE_MAX, rest).await;
        self.release().await;
    }

    async fn release(&self) {
        match self.stored.release(self.deps.replica.clone()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "tasks of the last run are taken again"),
            Err(error) => tracing::warn!(%error, "the last run's tasks wait for their leases to end"),
        }
    }

    /// Takes what is due; whether there may be more.
    async fn take(&self, at_work: &mut AtWork) -> bool {
        let free = TASKS_AT_ONCE.saturating_sub(at_work.tries.len());
        // Some at a time, so that one query finds several.
        if free * 8 < TASKS_AT_ONCE {
            return false;
        }
        let limit = free.min(TASKS_CLAIMED_MAX);
        let claim = TaskClaim {
            worker: self.deps.replica.clone(),
            unix_ms: self.deps.world.clock.unix_ms(),
            lease_ms: milliseconds(LEASE),
            limit: u32::try_from(limit).unwrap_or_default(),
            of_workspace_max: self.at_once_of_workspace,
            after: at_work.last.unwrap_or(store::jobs::INSTALLATION),
        };
        let claimed = match self.stored.claim(claim).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "no tasks could be taken");
                return false;
            }
        };
        let has_more = claimed.len() >= limit;
        for task in claimed {
            at_work.last = Some(task.task.owner.workspace);
            at_work.tries.insert(task.task.id, task.task.tries);
            at_work.making.push(self.make(task));
        }
        has_more
    }

    fn make(&self, claimed: ClaimedTask) -> PortFuture<'static, TaskId> {
        let ClaimedTask { task, request } = claimed;
        let (id, workspace) = (task.id, task.owner.workspace);
        let trace = self.trace_of(id, task.tries);
        let request = request.and_then(|request| request.open(&self.deps.vault, workspace));
        let call = TaskCall { task, request, worker: self.deps.replica.clone(), trace };
        let outbound = Arc::clone(&self.deps.outbound);
        Box::pin(async move {
            outbound.run_task(call).await;
            id
        })
    }

    /// The exchange of a try: that of the first is the task's own.
    fn trace_of(&self, id: TaskId, tries: u32) -> TraceId {
        if tries <= 1 {
            return TraceId::from_uuid(*id.as_uuid());
        }
        self.deps.vault.requests.of_task_try(self.deps.world.clock.unix_ms(), id, tries)
    }

    /// Renews the leases, and tells the tasks to end that were cancelled, or that another worker has.
    async fn renew(&self, at_work: HashMap<TaskId, u32>) {
        let until = self.deps.world.clock.unix_ms().saturating_add(milliseconds(LEASE));
        let held = match self.stored.renew(self.deps.replica.clone(), until).await {
            Ok(held) => held,
            // The store may be back before the leases are over.
            Err(error) => return tracing::warn!(%error, "the leases of tasks could not be renewed"),
        };
        let held: HashMap<_, _> =
            held.into_iter().map(|held| ((held.id, held.tries), held.is_cancelled)).collect();
        for (id, tries) in at_work {
            if held.get(&(id, tries)).is_some_and(|is_cancelled| *is_cancelled) {
                self.live.cancel(id);
            }
        }
    }
}

impl AtWork {
    fn has_room(&self) -> bool {
        self.tries.len() < TASKS_AT_ONCE
    }

    /// Takes note of all that has ended by now.
    fn collect(&mut self) {
        use futures_util::FutureExt as _;
        while let Some(Some(ended)) = self.making.next().now_or_never() {
            self.tries.remove(&ended);
        }
    }
}

//! Works through runs of flows: takes those that are due, fairly between workspaces, starts their steps as they become ready, and
//! stores what each made. A run whose process dies is taken again and goes on after what is stored.

mod book;
mod calls;
mod drive;
mod driver;
mod ending;
mod leaf;
mod loading;
mod progress;
mod shared;
mod signals;
mod starting;
mod sub_flow;
mod values;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::PortFuture;
use domain::{FlowRunId, WorkspaceId};
use flowruns::{FlowEngine, RunClaim, RunLease, RunRow, StoredFlows, StoredRuns};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use line::LiveTasks;
use tasks::Task;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::limits::{FLOW_GOODBYE_MAX, FLOW_RUNS_AT_ONCE, FLOW_RUNS_CLAIMED_MAX, FLOW_RUNS_EXPIRED_MAX};
use crate::{Deps, milliseconds};

use drive::Drive;
pub use shared::on_its_own;
use shared::{Driven, Shared};

pub use book::FlowBook;
pub use driver::{DrivenRun, FlowDriver, LeftCosts, Next, Round};
pub use leaf::{FlowCall, FlowTarget};
pub use signals::{EngineDoor, FlowSignals};

const LEASE: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How often the queue is looked at where nothing arrives in this process.
const POLL_EVERY: Duration = Duration::from_millis(250);
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// The worker of one process.
pub struct FlowRunner {
    shared: Arc<Shared>,
    at_once_of_workspace: u64,
}

/// A running worker.
pub struct FlowRunnerHandle(Task);

impl FlowRunnerHandle {
    /// Takes no more runs, and puts those back that it has: what their steps began goes on.
    pub async fn stop(self) {
        if self.0.end().await.is_err() {
            tracing::error!("the worker of flows ended by a panic");
        }
    }
}

/// The runs that are driven now.
#[derive(Default)]
struct AtWork {
    driving: FuturesUnordered<PortFuture<'static, Driven>>,
    /// What steps cost whose runs have ended.
    costs: FuturesUnordered<PortFuture<'static, ()>>,
    last: Option<WorkspaceId>,
    /// How many events each run had when it was last renewed.
    events: HashMap<FlowRunId, u64>,
}

impl FlowRunner {
    /// At most `at_once_of_workspace` runs of one workspace are driven at once, whichever process drives them.
    pub fn new(
        deps: Deps,
        (task_arrivals, live): (Arc<Notify>, Arc<LiveTasks>),
        at_once_of_workspace: u64,
    ) -> Self {
        let (runs, flows) = (StoredRuns::of(&deps.store), StoredFlows::of(&deps.store));
        let tasks = runs::stored(&deps.store);
        Self {
            shared: Arc::new(Shared { deps, runs, flows, tasks, live, task_arrivals }),
            at_once_of_workspace,
        }
    }

    /// Starts on the caller's runtime.
    pub fn start(self) -> FlowRunnerHandle {
        FlowRunnerHandle(Task::spawn_until_signal("run flows", |stopped| self.run(stopped)))
    }

    async fn run(self, mut stopped: watch::Receiver<bool>) {
        // No other live process has this name: whatever it holds is from before it died.
        self.release().await;
        let signals = Arc::clone(&self.shared.deps.flows);
        let mut at_work = AtWork::default();
        let (mut renewed, mut expired) = (Instant::now(), Instant::now());
        while !*stopped.borrow() {
            let has_more = self.take(&mut at_work).await;
            if renewed.elapsed() >= RENEW_EVERY && !at_work.driving.is_empty() {
                self.renew(&mut at_work).await;
                renewed = Instant::now();
            }
            if expired.elapsed() >= EXPIRE_EVERY {
                self.expire().await;
                expired = Instant::now();
            }
            tokio::select! {
                _ = stopped.changed() => {}
                Some(driven) = at_work.driving.next(), if !at_work.driving.is_empty() => at_work.put_down(driven),
                Some(()) = at_work.costs.next(), if !at_work.costs.is_empty() => {}
                () = signals.arrival(FlowEngine::Queue) => {}
                () = sleep(POLL_EVERY), if !has_more => {}
                () = std::future::ready(()), if has_more => {}
            }
        }
        let costs = async { while at_work.costs.next().await.is_some() {} };
        let _ = timeout(FLOW_GOODBYE_MAX, costs).await;
        // Steps in place are stored in full or not at all, and the others go on as tasks.
        drop(at_work);
        self.release().await;
    }

    async fn release(&self) {
        match self.shared.runs.release(self.shared.deps.replica.clone()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "runs of flows are taken again"),
            Err(error) => tracing::warn!(%error, "the runs of flows wait for their leases to end"),
        }
    }

    async fn expire(&self) {
        let now = self.shared.deps.world.clock.unix_ms();
        if let Err(error) = self.shared.runs.expire(now, FLOW_RUNS_EXPIRED_MAX).await {
            tracing::warn!(%error, "expired runs of flows couldn't be deleted");
        }
    }

    /// Takes what is due; whether there may be more.
    async fn take(&self, at_work: &mut AtWork) -> bool {
        let limit = FLOW_RUNS_AT_ONCE.saturating_sub(at_work.driving.len()).min(FLOW_RUNS_CLAIMED_MAX);
        if limit == 0 {
            return false;
        }
        let claim = RunClaim {
            engine: FlowEngine::Queue,
            worker: self.shared.deps.replica.clone(),
            unix_ms: self.shared.deps.world.clock.unix_ms(),
            lease_ms: milliseconds(LEASE),
            limit: u32::try_from(limit).unwrap_or_default(),
            of_workspace_max: self.at_once_of_workspace,
            after: at_work.last.unwrap_or(store::jobs::INSTALLATION),
        };
        let claimed = match self.shared.runs.claim(claim).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "no runs of flows could be taken");
                return false;
            }
        };
        let has_more = !claimed.is_empty();
        for run in claimed {
            at_work.last = Some(run.owner.workspace);
            at_work.driving.push(self.drive(run));
        }
        has_more
    }

    fn drive(&self, run: RunRow) -> PortFuture<'static, Driven> {
        let shared = Arc::clone(&self.shared);
        let lease = RunLease {
            id: run.id,
            owner: run.owner,
            request: run.request,
            worker: shared.deps.replica.clone(),
        };
        let (id, workspace) = (run.id, run.owner.workspace);
        let driving = drive_apart(workspace, async move {
            let held = shared.deps.flows.hold(id);
            let costs = match Drive::load(shared, run, lease).await {
                Some(drive) => drive.run(&held).await,
                None => FuturesUnordered::new(),
            };
            Driven { id, costs }
        });
        Box::pin(async move { driving.await.unwrap_or(Driven { id, costs: FuturesUnordered::new() }) })
    }

    /// Renews the leases, and tells the runs of which somebody wants something that this process does not know.
    async fn renew(&self, at_work: &mut AtWork) {
        let until = self.shared.deps.world.clock.unix_ms().saturating_add(milliseconds(LEASE));
        let held = match self.shared.runs.renew(self.shared.deps.replica.clone(), until).await {
            Ok(held) => held,
            // The store may be back before the leases are over.
            Err(error) => return tracing::warn!(%error, "the leases of runs of flows could not be renewed"),
        };
        for run in held {
            let before = at_work.events.insert(run.id, run.events);
            if run.wish.is_some() || before.is_some_and(|before| before != run.events) {
                self.shared.deps.flows.touch(run.id);
            }
        }
    }
}

/// Drives a run as a separate task, beside the shared thread, because driving evaluates its templates and expressions.
fn drive_apart<T: Send + 'static>(
    workspace: WorkspaceId,
    driving: impl Future<Output = T> + Send + 'static,
) -> PortFuture<'static, Option<T>> {
    on_its_own("run of a flow", Box::pin(tasks::beside(*workspace.as_bytes(), driving)))
}

impl AtWork {
    fn put_down(&mut self, driven: Driven) {
        self.events.remove(&driven.id);
        self.costs.extend(driven.costs);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_run_that_computes_keeps_nothing_from_its_thread() {
        let runtime = tasks::runtime("control").unwrap();
        let ((begun, has_begun), (end, wait)) = (mpsc::channel(), mpsc::channel());
        let entered = runtime.enter();
        let driving = drive_apart(WorkspaceId::new(1, [1; 10]), async move {
            begun.send(()).unwrap();
            wait.recv().unwrap();
            7
        });
        drop(entered);
        has_begun.recv().unwrap();
        let (done, is_done) = mpsc::channel();
        let other = runtime.spawn(async move { done.send(()) });
        let seen = is_done.recv_timeout(Duration::from_secs(10));
        end.send(()).unwrap();
        assert_eq!(runtime.block_on(driving), Some(7));
        runtime.block_on(other).unwrap().unwrap();
        seen.unwrap();
    }
}

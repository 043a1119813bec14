//! One process's worker: takes jobs, renews their leases, and records their outcomes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::WorkspaceId;
use domain::limits::{
    DEADLINE, JOB_GOODBYE_MAX, JOB_LEASE, JOB_POLL_EVERY, JOBS_AT_ONCE, JOBS_AT_ONCE_OF_WORKSPACE,
};
use store::jobs::{INSTALLATION, JobClaim, JobLease};
use store::{JobRow, Store};
use tasks::Task;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use world::World;

use crate::machine::{Outcome, Policy, ending};
use crate::{Handler, Handlers};

/// A worker before it starts.
pub struct Runner {
    store: Store,
    world: World,
    /// Unique among live processes; a process that replaces a dead one has the same name.
    worker: String,
    handlers: Handlers,
}

/// A running worker.
pub struct WorkerHandle(Task);

impl WorkerHandle {
    /// Takes no more jobs, gives running ones a moment to end, and releases the rest.
    pub async fn stop(self) {
        if self.0.end().await.is_err() {
            tracing::error!("the worker of jobs ended by a panic");
        }
    }
}

impl Runner {
    pub fn new(store: Store, world: World, worker: String, handlers: Handlers) -> Self {
        Self { store, world, worker, handlers }
    }

    /// Starts on the caller's runtime.
    pub fn start(self) -> WorkerHandle {
        WorkerHandle(Task::spawn_until_signal("jobs", |stopped| Arc::new(self).run(stopped)))
    }

    async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        // No other live process has this name: whatever it holds is from before it died.
        self.release().await;
        let mut at_work = RunningJobs::default();
        while !*stopped.borrow() {
            let taken = self.claim(&at_work).await;
            let found = !taken.is_empty();
            for job in taken {
                at_work.last = job.workspace;
                at_work.start(Arc::clone(&self), job);
            }
            tokio::select! {
                _ = stopped.changed() => {}
                () = at_work.join_one() => {}
                () = tokio::time::sleep(JOB_POLL_EVERY), if !found => {}
                () = std::future::ready(()), if found => {}
            }
        }
        // After the timeout the rest is aborted; another worker takes it again.
        let _ = tokio::time::timeout(JOB_GOODBYE_MAX, at_work.join_all()).await;
        at_work.tasks.shutdown().await;
        self.release().await;
    }

    async fn release(&self) {
        match self.store.jobs().release(self.worker.clone()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "jobs of the last run are taken again"),
            Err(error) => tracing::warn!(%error, "the last run's jobs wait for their leases to end"),
        }
    }

    async fn claim(&self, at_work: &RunningJobs) -> Vec<JobRow> {
        let limit = JOBS_AT_ONCE.saturating_sub(at_work.tasks.len());
        if limit == 0 {
            return Vec::new();
        }
        let claim = JobClaim {
            worker: self.worker.clone(),
            unix_ms: self.world.clock.unix_ms(),
            lease_ms: milliseconds(JOB_LEASE),
            limit,
            running: at_work.by_workspace(),
            of_workspace_max: JOBS_AT_ONCE_OF_WORKSPACE,
            after: at_work.last,
        };
        match self.store.jobs().claim(claim).await {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::warn!(%error, "no jobs could be taken");
                Vec::new()
            }
        }
    }

    async fn work(&self, job: JobRow) {
        let hold = JobLease { job: job.id, worker: self.worker.clone(), attempt: job.attempts };
        let handler = self.handlers.iter().find(|handler| handler.kind() == job.kind);
        let policy = handler.map_or(Policy::OURS, |handler| handler.policy());
        let outcome = match handler {
            Some(handler) => match self.run_with_lease(&hold, &**handler, &job).await {
                Some(outcome) => outcome,
                None => return,
            },
            // In a rolling upgrade a newer process enqueues kinds that this one doesn't know.
            None => Outcome::failure(format!("this process knows no job of kind {}", job.kind)),
        };
        if let Outcome::Failed { error, .. } | Outcome::Permanent { error } = &outcome {
            tracing::debug!(job = job.id, kind = job.kind, attempt = job.attempts, error, "a job failed");
        }
        let (now, chance) = (self.world.clock.unix_ms(), self.world.random.next_u64());
        match self.store.jobs().settle(hold, ending(&job, &policy, outcome, now, chance)).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(job = job.id, "a job was taken by somebody else meanwhile"),
            Err(error) => tracing::warn!(job = job.id, %error, "how a job ended could not be kept"),
        }
    }

    /// Runs a job and renews its lease; `None` if another worker has taken the job.
    async fn run_with_lease(&self, hold: &JobLease, handler: &dyn Handler, job: &JobRow) -> Option<Outcome> {
        let mut running = std::pin::pin!(tasks::beside(*job.workspace.as_bytes(), handler.run(job)));
        let deadline = tokio::time::sleep(DEADLINE);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                outcome = &mut running => return Some(outcome),
                () = &mut deadline => return Some(Outcome::failure("it took too long")),
                () = tokio::time::sleep(JOB_LEASE / 3) => {
                    let until = self.world.clock.unix_ms().saturating_add(milliseconds(JOB_LEASE));
                    // If the store is unreachable, the lease is left alone: the store may be back in time.
                    if let Ok(false) = self.store.jobs().extend(hold.clone(), until).await {
                        tracing::warn!(job = job.id, "a job's lease ran out while it was worked on");
                        return None;
                    }
                }
            }
        }
    }
}

/// The running jobs.
struct RunningJobs {
    tasks: JoinSet<()>,
    workspaces: HashMap<Id, WorkspaceId>,
    /// The workspace that was served last.
    last: WorkspaceId,
}

impl Default for RunningJobs {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), workspaces: HashMap::new(), last: INSTALLATION }
    }
}

impl RunningJobs {
    fn start(&mut self, runner: Arc<Runner>, job: JobRow) {
        let workspace = job.workspace;
        let task = self.tasks.spawn(async move { runner.work(job).await });
        self.workspaces.insert(task.id(), workspace);
    }

    /// Pending forever while nothing runs.
    async fn join_one(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => {
                // Its lease expires, and the job is retried.
                tracing::error!(%error, "a job ended by a panic");
                error.id()
            }
        };
        self.workspaces.remove(&id);
    }

    async fn join_all(&mut self) {
        while !self.tasks.is_empty() {
            self.join_one().await;
        }
    }

    fn by_workspace(&self) -> Vec<(WorkspaceId, usize)> {
        let mut counts: HashMap<WorkspaceId, usize> = HashMap::new();
        for workspace in self.workspaces.values() {
            *counts.entry(*workspace).or_default() += 1;
        }
        counts.into_iter().collect()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

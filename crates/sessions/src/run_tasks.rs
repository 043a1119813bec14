//! Tasks: stored sealed, written many at a time, deleted when their time is over. Who works through them is told when new ones
//! arrive. A task that has ended when it arrives goes through a spool.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::limits::{RESPONSE_FIND_TIME_MAX, STORE_CLOSING_TIME_MAX};
use domain::ports::{Place, PortFuture, PurgeError, PurgeScope, Purgeable};
use domain::{
    FoundTask, NewTask, ObjectOwner, QueuePlace, RunTask, SessionId, TaskAgain, TaskContents, TaskEnd,
    TaskEvent, TaskId, TaskLease, TaskListQuery, TaskNotKept, TaskStore,
};
use runs::{StoredTasks, TaskContent, TaskPart, TaskWrite, Written};
use store::{NewJob, Store, StoreError};
use tasks::{RuntimeTasks, Task};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use vault::Vault;
use world::World;

use crate::expiry::expire_all;
use crate::limits::{
    FIND_AGAIN_AFTER, SPOOLED_ELSEWHERE_MAX, TASK_KEEP_TIME_MAX, TASK_WRITES_AT_ONCE, TASK_WRITES_WAITING_MAX,
};
use crate::task_spool::TaskSpool;

/// A write, with the channel for what became of it.
type Waiting = (TaskWrite, oneshot::Sender<Written>);

/// The job that tells of the end of a task.
pub type TellJob = fn(ObjectOwner, TaskId, u64) -> NewJob;

/// Where tasks that have ended are written first.
#[derive(Debug)]
pub struct SpoolSettings {
    pub dir: PathBuf,
    /// Off where an answer has to wait for the database: then only what an earlier process left is read.
    pub is_on: bool,
}

/// Stores tasks.
pub struct RunTasks {
    inner: Arc<Inner>,
    expiring: Task,
    writing: Task,
    spooling: Task,
}

struct Inner {
    stored: StoredTasks,
    vault: Vault,
    world: World,
    /// The runtime that uses the store: serving cores wait for its result and never do its work.
    tasks: RuntimeTasks,
    writes: mpsc::Sender<Waiting>,
    arrivals: Arc<Notify>,
    tell: TellJob,
    spool: Arc<TaskSpool>,
    is_spool_on: bool,
}

impl RunTasks {
    /// Starts writing tasks, and deleting those whose time is over. Must be called on the runtime that is to use the store.
    ///
    /// # Errors
    /// The spool's directory can't be read.
    pub fn start(
        store: &Store,
        vault: Vault,
        world: World,
        tell: TellJob,
        spool: SpoolSettings,
    ) -> io::Result<Arc<Self>> {
        let SpoolSettings { dir, is_on: is_spool_on } = spool;
        let spool = TaskSpool::open(Arc::clone(&world.disk), dir)?;
        let (writes, waiting) = mpsc::channel(TASK_WRITES_WAITING_MAX);
        let tasks = RuntimeTasks::on_this_runtime("tasks");
        let stored = runs::stored(store);
        let arrivals = Arc::default();
        let inner =
            Arc::new(Inner { stored, vault, world, tasks, writes, arrivals, tell, spool, is_spool_on });
        let expired = Arc::clone(&inner);
        let expiring = Task::spawn("ends of tasks", async move {
            expire_all(|rows_max| expired.stored.expire(expired.now_unix_ms(), rows_max)).await;
        });
        let writing = Task::spawn("writes of tasks", write_all(inner.stored.clone(), waiting));
        let spooling = Arc::clone(&inner.spool).store_all(inner.stored.clone());
        let spooling = Task::spawn("spooled tasks", spooling);
        Ok(Arc::new(Self { inner, expiring, writing, spooling }))
    }

    /// Notified when a task arrives that waits for a worker.
    pub fn arrivals(&self) -> Arc<Notify> {
        Arc::clone(&self.inner.arrivals)
    }

    /// Returns when the reads and writes in flight are done, or after `STORE_CLOSING_TIME_MAX`.
    pub async fn stop(&self) {
        self.expiring.stop();
        self.inner.tasks.finish(STORE_CLOSING_TIME_MAX).await;
        self.writing.stop();
        // What is left is in the spool's files, for the next start.
        let _stored = timeout(STORE_CLOSING_TIME_MAX, self.inner.spool.settled()).await;
        self.spooling.stop();
    }

    fn ask<T, F>(
        &self,
        time_max: Duration,
        work: impl FnOnce(Arc<Inner>) -> F,
    ) -> PortFuture<'static, Option<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (inner, work) = (Arc::clone(&self.inner), work(Arc::clone(&self.inner)));
        let task = self.inner.tasks.run(async move {
            inner.spool.settled().await;
            work.await
        });
        Box::pin(async move {
            match timeout(time_max, task).await {
                Ok(Ok(Ok(value))) => Some(value),
                Ok(Ok(Err(error))) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a task could not be read or changed"
                    );
                    None
                }
                _ => None,
            }
        })
    }

    /// Makes a write among others; `None` if the store does not answer, or the content can't be sealed.
    fn write<F>(&self, write: impl FnOnce(Arc<Inner>) -> F) -> PortFuture<'static, Option<Written>>
    where
        F: Future<Output = Option<TaskWrite>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let making = write(Arc::clone(&inner));
        let task = self.inner.tasks.run(async move {
            let (answer, answered) = oneshot::channel();
            inner.writes.send((making.await?, answer)).await.ok()?;
            answered.await.ok()
        });
        Box::pin(async move { timeout(TASK_KEEP_TIME_MAX, task).await.ok()?.ok()? })
    }
}

/// Writes what waits, as much at a time as has come meanwhile.
async fn write_all(stored: StoredTasks, mut waiting: mpsc::Receiver<Waiting>) {
    while let Some(first) = waiting.recv().await {
        let (mut writes, mut answers) = (vec![first.0], vec![first.1]);
        while writes.len() < TASK_WRITES_AT_ONCE
            && let Ok((write, answer)) = waiting.try_recv()
        {
            writes.push(write);
            answers.push(answer);
        }
        let written = match stored.write(writes.clone()).await {
            Ok(written) => written.into_iter().map(Some).collect(),
            Err(error) => alone(&stored, writes, error).await,
        };
        for (answer, written) in answers.into_iter().zip(written) {
            if let Some(written) = written {
                // Nobody may wait for it any more.
                let _ = answer.send(written);
            }
        }
    }
}

/// Each write in a transaction of its own, so that the one that fails takes no other along.
async fn alone(stored: &StoredTasks, writes: Vec<TaskWrite>, error: StoreError) -> Vec<Option<Written>> {
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        writes = writes.len(),
        "tasks could not be written together"
    );
    let mut written = Vec::with_capacity(writes.len());
    for write in writes {
        let one = stored.write(vec![write]).await;
        if let Err(error) = &one {
            tracing::warn!(error = error as &dyn std::error::Error, "a task could not be written");
        }
        written.push(one.ok().and_then(|one| one.first().copied()));
    }
    written
}

impl Inner {
    fn now_unix_ms(&self) -> u64 {
        self.world.clock.unix_ms()
    }

    fn seal(&self, of: (ObjectOwner, TaskId), part: TaskPart, content: &[u8]) -> Option<TaskContent> {
        let sealed = TaskContent::seal(&self.vault, of, part, content);
        sealed.inspect_err(|error| tracing::error!(task = %of.1, %error, "a task could not be sealed")).ok()
    }

    fn seal_all(&self, of: (ObjectOwner, TaskId), contents: &TaskContents) -> Option<Vec<TaskContent>> {
        let parts = [(TaskPart::Request, &contents.request), (TaskPart::Result, &contents.result)];
        let there = parts.into_iter().filter_map(|(part, content)| Some((part, content.as_ref()?)));
        there.map(|(part, content)| self.seal(of, part, content)).collect()
    }

    async fn find(&self, owner: ObjectOwner, id: TaskId) -> Result<FoundTask, StoreError> {
        let mut found = self.stored.find(owner, id, self.now_unix_ms()).await?;
        let age = Duration::from_millis(self.now_unix_ms().saturating_sub(id.unix_ms()));
        if self.stored.is_shared() && age < SPOOLED_ELSEWHERE_MAX {
            for pause in FIND_AGAIN_AFTER {
                if found.is_some() {
                    break;
                }
                // Another gateway may have answered with it, and not have stored it yet.
                tokio::time::sleep(pause).await;
                found = self.stored.find(owner, id, self.now_unix_ms()).await?;
            }
        }
        if found.is_none() && !self.spool.settled().await {
            return Ok(FoundTask::StoreUnavailable);
        }
        Ok(runs::opened(found, &self.vault))
    }

    /// # Errors
    /// Some task waits for the store.
    async fn all_stored(&self) -> Result<(), PurgeError> {
        if self.spool.settled().await {
            return Ok(());
        }
        Err(PurgeError("tasks that ended wait to be stored, and the store takes no writes".to_owned()))
    }

    /// Makes a task that has ended survive the process; `false` where it has to wait for the database.
    fn spool(&self, new: &NewTask) -> bool {
        let is_for_it = self.is_spool_on && new.task.status.has_ended() && !new.task.notifies;
        if !is_for_it {
            return false;
        }
        let Some(contents) = self.seal_all((new.task.owner, new.task.id), &new.contents) else {
            return false;
        };
        self.spool.add(&new.task, contents)
    }
}

impl TaskStore for RunTasks {
    fn settled(&self) -> PortFuture<'static, ()> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            inner.spool.settled().await;
        })
    }

    fn keep(&self, new: NewTask) -> PortFuture<'static, Result<(), TaskNotKept>> {
        if self.inner.spool(&new) {
            return Box::pin(std::future::ready(Ok(())));
        }
        let (arrivals, waits) = (self.arrivals(), !new.task.status.has_ended());
        let kept = self.write(|inner| async move {
            let contents = inner.seal_all((new.task.owner, new.task.id), &new.contents)?;
            Some(TaskWrite::Keep {
                new: Box::new(NewTask { contents: TaskContents::default(), ..new }),
                contents,
            })
        });
        Box::pin(async move {
            let kept = kept.await.map_or(Err(TaskNotKept::StoreUnavailable), Written::kept);
            if waits && kept.is_ok() {
                arrivals.notify_one();
            }
            kept
        })
    }

    fn find(&self, owner: ObjectOwner, id: TaskId) -> PortFuture<'static, FoundTask> {
        let found = self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move { inner.find(owner, id).await });
        Box::pin(async move { found.await.unwrap_or(FoundTask::StoreUnavailable) })
    }

    fn list(&self, query: TaskListQuery) -> PortFuture<'static, Option<Vec<(RunTask, TaskContents)>>> {
        self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move {
            let workspace = query.owner.workspace;
            let rows = inner.stored.list(query, inner.now_unix_ms()).await?;
            let open = |(task, contents): (RunTask, Vec<TaskContent>)| {
                (task, TaskContent::open_all(&contents, &inner.vault, workspace))
            };
            Ok(rows.into_iter().map(open).collect())
        })
    }

    fn cancel(&self, owner: ObjectOwner, id: TaskId) -> PortFuture<'static, FoundTask> {
        let found = self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move {
            let now = inner.now_unix_ms();
            inner.stored.cancel(owner, id, now, (inner.tell)(owner, id, now)).await?;
            inner.find(owner, id).await
        });
        Box::pin(async move { found.await.unwrap_or(FoundTask::StoreUnavailable) })
    }

    fn forget(&self, owner: ObjectOwner, id: TaskId) -> PortFuture<'static, bool> {
        let task = self
            .ask(RESPONSE_FIND_TIME_MAX, move |inner| async move { inner.stored.forget(owner, id).await });
        Box::pin(async move { task.await.is_some() })
    }

    fn rate(&self, owner: ObjectOwner, id: TaskId, rating: Option<u8>) -> PortFuture<'static, bool> {
        let task = self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move {
            inner.stored.rate(owner, id, rating).await
        });
        Box::pin(async move { task.await == Some(true) })
    }

    fn place(&self, task: RunTask) -> PortFuture<'static, Option<QueuePlace>> {
        self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move {
            inner.stored.place(&task, inner.now_unix_ms()).await
        })
    }

    fn progress(&self, lease: TaskLease, event: Option<TaskEvent>, partial: Option<Bytes>) {
        let written = self.write(|inner| async move {
            let seal = |partial: Bytes| inner.seal((lease.owner, lease.id), TaskPart::Partial, &partial);
            let partial = match partial {
                Some(partial) => Some(seal(partial)?),
                None => None,
            };
            let unix_ms = inner.now_unix_ms();
            Some(TaskWrite::Progress { lease, event, partial, unix_ms })
        });
        // It goes on by itself.
        drop(written);
    }

    fn finish(&self, lease: TaskLease, end: TaskEnd) -> PortFuture<'static, Option<bool>> {
        let written = self.write(|inner| async move {
            let result = inner.seal((lease.owner, lease.id), TaskPart::Result, &end.result)?;
            let job = end.notifies.then(|| Box::new((inner.tell)(lease.owner, lease.id, end.ended_unix_ms)));
            let end = Box::new(TaskEnd { result: Bytes::new(), ..end });
            Some(TaskWrite::Finish { lease, end, result, job })
        });
        Box::pin(async move { written.await.map(Written::is_held) })
    }

    fn amend(&self, owner: ObjectOwner, id: TaskId, result: Bytes) -> PortFuture<'static, bool> {
        let written = self.write(move |inner| async move {
            inner.spool.settled().await;
            let result = inner.seal((owner, id), TaskPart::Result, &result)?;
            Some(TaskWrite::Amend { owner, id, result })
        });
        Box::pin(async move { written.await.is_some_and(Written::is_held) })
    }

    fn of_chat(
        &self,
        owner: ObjectOwner,
        chat: SessionId,
    ) -> PortFuture<'static, Option<Vec<(RunTask, TaskContents)>>> {
        self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move {
            let rows = inner.stored.of_chat(owner, chat, inner.now_unix_ms()).await?;
            let open = |(task, contents): (RunTask, Vec<TaskContent>)| {
                (task, TaskContent::open_all(&contents, &inner.vault, owner.workspace))
            };
            Ok(rows.into_iter().map(open).collect())
        })
    }

    fn wake(&self, owner: ObjectOwner, chat: SessionId) -> PortFuture<'static, bool> {
        let arrivals = self.arrivals();
        let woken = self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move {
            inner.stored.wake(owner, chat, inner.now_unix_ms()).await
        });
        Box::pin(async move {
            let is_woken = woken.await.is_some();
            arrivals.notify_one();
            is_woken
        })
    }

    fn requeue(&self, lease: TaskLease, again: TaskAgain) -> PortFuture<'static, Option<bool>> {
        let written =
            self.write(|_inner| async move { Some(TaskWrite::Requeue { lease, again: Box::new(again) }) });
        Box::pin(async move { written.await.map(Written::is_held) })
    }
}

impl Purgeable for RunTasks {
    fn place(&self) -> Place {
        Place::Tasks
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move {
            self.inner.all_stored().await?;
            Ok(self.inner.stored.purge(scope).await?)
        })
    }

    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move {
            self.inner.all_stored().await?;
            Ok(self.inner.stored.remaining(scope).await?)
        })
    }
}

#[cfg(test)]
#[path = "task_spool_tests.rs"]
mod task_spool_tests;

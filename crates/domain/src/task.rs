//! Tasks: runs of apps that are stored, so that they can be read, followed, cancelled and made again. A task that nobody waits
//! for is worked through by whichever process takes it from the queue.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, SessionId, TaskId, TraceId};
use crate::ports::PortFuture;
use crate::stored_object::ObjectOwner;

crate::words! {
    /// Where a task is. Its numbers are those that clients read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    #[repr(u8)]
    pub enum TaskStatus by by_name {
        Received(1) = "received",
        Queued(2) = "queued",
        /// A worker has taken it.
        Dispatched(3) = "dispatched",
        /// Its inputs are loaded.
        Preparing(4) = "preparing",
        Running(7) = "running",
        Cancelling(8) = "cancelling",
        Completed(10) = "completed",
        Failed(11) = "failed",
        Cancelled(12) = "cancelled",
    }
}

impl TaskStatus {
    pub const fn code(self) -> u8 {
        self as u8
    }

    pub fn by_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// Nothing changes any more.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

crate::words! {
    /// Which tasks of one workspace are taken first.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
    pub enum TaskPriority by by_name {
        Low = "low",
        #[default]
        Normal = "normal",
        High = "high",
    }
}

impl TaskPriority {
    /// The rank in the queue: the lowest is taken first.
    pub const fn rank(self) -> u8 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }

    pub fn by_rank(rank: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.rank() == rank)
    }
}

/// When a task came to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEvent {
    pub unix_ms: u64,
    /// A `TaskStatus`, by its number.
    pub status: u8,
}

impl TaskEvent {
    pub const fn new(unix_ms: u64, status: TaskStatus) -> Self {
        Self { unix_ms, status: status.code() }
    }
}

/// A line of a task's log. It has no content of requests: codes, numbers and names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLogLine {
    pub unix_ms: u64,
    pub text: String,
}

/// A stored task, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTask {
    pub id: TaskId,
    pub owner: ObjectOwner,
    /// The key that made it, and pays for it.
    pub key: KeyId,
    pub app: String,
    pub status: TaskStatus,
    pub priority: TaskPriority,
    /// How many times a worker took it.
    pub tries: u32,
    pub created_unix_ms: u64,
    pub updated_unix_ms: u64,
    /// When it may start.
    pub due_unix_ms: u64,
    pub ended_unix_ms: Option<u64>,
    /// When it is deleted.
    pub until_unix_ms: u64,
    /// How long it is stored after it ends, if its client set that.
    pub ttl_ms: Option<u64>,
    pub cancelled_unix_ms: Option<u64>,
    pub events: Vec<TaskEvent>,
    pub logs: Vec<TaskLogLine>,
    /// From 1 to 5, by whoever reads it.
    pub rating: Option<u8>,
    /// Its request names an address that is told of its end.
    pub notifies: bool,
    /// The session of whose chat it is a turn: these are made one after the other.
    pub chat: Option<SessionId>,
}

impl RunTask {
    /// A task that waits for a worker from now on, of usual priority.
    pub fn queued(
        (id, owner, key): (TaskId, ObjectOwner, KeyId),
        app: String,
        (now_unix_ms, until_unix_ms): (u64, u64),
    ) -> Self {
        let event = |status| TaskEvent::new(now_unix_ms, status);
        Self {
            id,
            owner,
            key,
            app,
            status: TaskStatus::Queued,
            priority: TaskPriority::default(),
            tries: 0,
            created_unix_ms: now_unix_ms,
            updated_unix_ms: now_unix_ms,
            due_unix_ms: now_unix_ms,
            ended_unix_ms: None,
            until_unix_ms,
            ttl_ms: None,
            cancelled_unix_ms: None,
            events: vec![event(TaskStatus::Received), event(TaskStatus::Queued)],
            logs: Vec::new(),
            rating: None,
            notifies: false,
            chat: None,
        }
    }

    /// The exchange of its first try: a task and its request share one id.
    pub fn request(&self) -> TraceId {
        TraceId::from_uuid(*self.id.as_uuid())
    }
}

/// What a task was made of and what came out, in the forms that `run` writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskContents {
    /// `None` where it was purged, or is not stored.
    pub request: Option<Bytes>,
    /// Of a task that has ended.
    pub result: Option<Bytes>,
    /// What a running task has so far.
    pub partial: Option<Bytes>,
}

/// A task to store: one that waits for a worker, or one that has ended already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    pub task: RunTask,
    pub contents: TaskContents,
    /// A new task is refused where its project has as many that have not ended; `None`: it is stored in any case.
    pub open_max: Option<u64>,
}

/// What became of an attempt to store a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskNotKept {
    /// The project has this many tasks that have not ended.
    TooManyWaiting(u64),
    /// It can't be known whether it is stored.
    StoreUnavailable,
}

/// What was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundTask {
    Known(Box<(RunTask, TaskContents)>),
    Unknown,
    StoreUnavailable,
}

/// A page of a project's tasks, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskListQuery {
    pub owner: ObjectOwner,
    /// The last task of the page before.
    pub after: Option<TaskId>,
    /// Any, where it is empty.
    pub statuses: Vec<TaskStatus>,
    pub app: Option<String>,
    pub limit: u32,
}

/// A worker's hold on a task. It is void once another worker has taken the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLease {
    pub id: TaskId,
    pub owner: ObjectOwner,
    pub worker: String,
    /// Which try it is.
    pub tries: u32,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEnd {
    pub status: TaskStatus,
    pub events: Vec<TaskEvent>,
    pub logs: Vec<TaskLogLine>,
    pub result: Bytes,
    pub ended_unix_ms: u64,
    /// An address is told of it.
    pub notifies: bool,
}

/// A task that goes back to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskAgain {
    pub due_unix_ms: u64,
    pub events: Vec<TaskEvent>,
    pub logs: Vec<TaskLogLine>,
    /// Its try does not count: it was not begun.
    pub is_postponed: bool,
    pub unix_ms: u64,
}

/// Where a task is in its workspace's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueuePlace {
    /// Tasks of its workspace that are taken before.
    pub ahead: u64,
    /// Tasks of its workspace that run.
    pub running: u64,
    /// How long those that ended lately ran, on average.
    pub mean_ms: Option<u64>,
}

/// Stores tasks.
pub trait TaskStore: Send + Sync {
    /// Returns once the tasks that ended in this process are in the store, unless that takes no writes.
    fn settled(&self) -> PortFuture<'static, ()>;
    fn keep(&self, task: NewTask) -> PortFuture<'static, Result<(), TaskNotKept>>;
    fn find(&self, owner: ObjectOwner, id: TaskId) -> PortFuture<'static, FoundTask>;
    /// `None` if the store does not answer.
    fn list(&self, query: TaskListQuery) -> PortFuture<'static, Option<Vec<(RunTask, TaskContents)>>>;
    /// A task that waits ends so; one that runs is told to.
    fn cancel(&self, owner: ObjectOwner, id: TaskId) -> PortFuture<'static, FoundTask>;
    /// Deletes a task that has ended; `false` if the store does not answer.
    fn forget(&self, owner: ObjectOwner, id: TaskId) -> PortFuture<'static, bool>;
    fn rate(&self, owner: ObjectOwner, id: TaskId, rating: Option<u8>) -> PortFuture<'static, bool>;
    fn place(&self, task: RunTask) -> PortFuture<'static, Option<QueuePlace>>;
    /// Stores what a running task has so far; nothing waits for it.
    fn progress(&self, lease: TaskLease, event: Option<TaskEvent>, partial: Option<Bytes>);
    /// `false` where another worker decides, `None` if the store does not answer.
    fn finish(&self, lease: TaskLease, end: TaskEnd) -> PortFuture<'static, Option<bool>>;
    fn requeue(&self, lease: TaskLease, again: TaskAgain) -> PortFuture<'static, Option<bool>>;
    /// Replaces the result of a task that has ended; `false` if the store does not answer.
    fn amend(&self, owner: ObjectOwner, id: TaskId, result: Bytes) -> PortFuture<'static, bool>;
    /// The turns of a chat that are still stored, oldest first; `None` if the store does not answer.
    fn of_chat(
        &self,
        owner: ObjectOwner,
        chat: SessionId,
    ) -> PortFuture<'static, Option<Vec<(RunTask, TaskContents)>>>;
    /// Has a turn that waits for people go on now; `false` if the store does not answer.
    fn wake(&self, owner: ObjectOwner, chat: SessionId) -> PortFuture<'static, bool>;
}

/// For processes that keep none.
#[derive(Debug, Default)]
pub struct NoTasks;

impl TaskStore for NoTasks {
    fn settled(&self) -> PortFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn keep(&self, _task: NewTask) -> PortFuture<'static, Result<(), TaskNotKept>> {
        Box::pin(async { Err(TaskNotKept::StoreUnavailable) })
    }

    fn find(&self, _owner: ObjectOwner, _id: TaskId) -> PortFuture<'static, FoundTask> {
        Box::pin(async { FoundTask::Unknown })
    }

    fn list(&self, _query: TaskListQuery) -> PortFuture<'static, Option<Vec<(RunTask, TaskContents)>>> {
        Box::pin(async { Some(Vec::new()) })
    }

    fn cancel(&self, _owner: ObjectOwner, _id: TaskId) -> PortFuture<'static, FoundTask> {
        Box::pin(async { FoundTask::Unknown })
    }

    fn forget(&self, _owner: ObjectOwner, _id: TaskId) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn rate(&self, _owner: ObjectOwner, _id: TaskId, _rating: Option<u8>) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn place(&self, _task: RunTask) -> PortFuture<'static, Option<QueuePlace>> {
        Box::pin(async { None })
    }

    fn progress(&self, _lease: TaskLease, _event: Option<TaskEvent>, _partial: Option<Bytes>) {}

    fn finish(&self, _lease: TaskLease, _end: TaskEnd) -> PortFuture<'static, Option<bool>> {
        Box::pin(async { None })
    }

    fn requeue(&self, _lease: TaskLease, _again: TaskAgain) -> PortFuture<'static, Option<bool>> {
        Box::pin(async { None })
    }

    fn amend(&self, _owner: ObjectOwner, _id: TaskId, _result: Bytes) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn of_chat(
        &self,
        _owner: ObjectOwner,
        _chat: SessionId,
    ) -> PortFuture<'static, Option<Vec<(RunTask, TaskContents)>>> {
        Box::pin(async { Some(Vec::new()) })
    }

    fn wake(&self, _owner: ObjectOwner, _chat: SessionId) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }
}

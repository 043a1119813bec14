//! The tasks that this process works on now: what each has so far, for those who follow it, and how it is cancelled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use domain::{RunTask, TaskId, TaskStatus, TraceId};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

/// A task that a worker took, to be made on a core.
#[derive(Debug, Clone)]
pub struct TaskCall {
    pub task: RunTask,
    /// `None` where it was purged.
    pub request: Option<Bytes>,
    pub worker: String,
    /// The exchange of this try.
    pub trace: TraceId,
}

/// What a task has so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskProgress {
    pub status: TaskStatus,
    /// Of an app that answers with text.
    pub text: String,
    /// It is stored how it ended, and nothing more comes.
    pub has_ended: bool,
}

#[derive(Debug)]
struct Live {
    progress: watch::Sender<TaskProgress>,
    cancelled: Notify,
}

/// All tasks that the process works on.
#[derive(Debug, Default)]
pub struct LiveTasks {
    running: Mutex<HashMap<TaskId, Arc<Live>>>,
    started: Notify,
}

/// A task that is worked on, until this is dropped.
#[derive(Debug)]
#[must_use = "nobody works on the task once it is dropped"]
pub struct LiveTask {
    all: Arc<LiveTasks>,
    id: TaskId,
    live: Arc<Live>,
}

impl LiveTasks {
    pub fn begin(self: &Arc<Self>, id: TaskId) -> LiveTask {
        let first = TaskProgress { status: TaskStatus::Dispatched, text: String::new(), has_ended: false };
        let live = Arc::new(Live { progress: watch::Sender::new(first), cancelled: Notify::new() });
        self.running().insert(id, Arc::clone(&live));
        self.started.notify_waiters();
        LiveTask { all: Arc::clone(self), id, live }
    }

    /// What a task has so far, and what comes; `None` where another process works on it, or none.
    pub fn follow(&self, id: TaskId) -> Option<watch::Receiver<TaskProgress>> {
        self.running().get(&id).map(|live| live.progress.subscribe())
    }

    /// Tells a task to end; `false` where this process does not work on it.
    pub fn cancel(&self, id: TaskId) -> bool {
        let live = self.running().get(&id).map(Arc::clone);
        live.inspect(|live| live.cancelled.notify_one()).is_some()
    }

    /// Resolves once this process begins to work on any task after this call.
    pub fn started(&self) -> Notified<'_> {
        self.started.notified()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TaskId, Arc<Live>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveTask {
    pub fn enter(&self, status: TaskStatus) {
        self.live.progress.send_modify(|progress| progress.status = status);
    }

    pub fn push(&self, text: &str) {
        self.live.progress.send_modify(|progress| progress.text.push_str(text));
    }

    pub fn text(&self) -> String {
        self.live.progress.borrow().text.clone()
    }

    /// Resolves once it is to end, also if that was so before.
    pub async fn cancelled(&self) {
        self.live.cancelled.notified().await;
    }
}

impl Drop for LiveTask {
    fn drop(&mut self) {
        // The task may have been taken again here meanwhile.
        let mut running = self.all.running();
        if running.get(&self.id).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
            running.remove(&self.id);
        }
        drop(running);
        self.live.progress.send_modify(|progress| progress.has_ended = true);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn who_follows_a_task_sees_all_of_it_and_its_end() {
        let all = Arc::new(LiveTasks::default());
        let id = TaskId::new(1, [1; 10]);
        assert!(all.follow(id).is_none());
        let task = all.begin(id);
        task.push("one ");
        let mut late = all.follow(id).unwrap();
        task.push("two");
        task.enter(TaskStatus::Running);
        let seen = late.borrow_and_update().clone();
        assert_eq!(
            (seen.text.as_str(), seen.status, seen.has_ended),
            ("one two", TaskStatus::Running, false)
        );
        drop(task);
        assert!(late.borrow_and_update().has_ended);
        assert!(all.follow(id).is_none());
    }

    #[test]
    fn a_cancellation_reaches_its_task_alone() {
        let all = Arc::new(LiveTasks::default());
        let [one, other] = [1, 2].map(|number| TaskId::new(number, [1; 10]));
        let (task, beside) = (all.begin(one), all.begin(other));
        assert!(all.cancel(one));
        assert!(task.cancelled().now_or_never().is_some() && beside.cancelled().now_or_never().is_none());
        // It was taken again before the first try ended.
        let again = all.begin(one);
        drop(task);
        assert!(all.cancel(one) && again.cancelled().now_or_never().is_some());
    }
}

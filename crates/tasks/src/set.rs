//! What a process closes at its end, in order.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::Task;
use crate::limits::HELD_UP_TIME_MAX;

type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The tasks, threads and files of a process. They are closed in the reverse order of their registration:
/// whatever was opened on top of another thing goes before it.
#[derive(Default)]
pub struct TaskSet {
    parts: Vec<Part>,
}

struct Part {
    name: &'static str,
    close: Box<dyn FnOnce() -> Closing + Send>,
    /// Where its tasks are.
    runtime: Option<Handle>,
}

impl TaskSet {
    /// Registers a part and how it is closed. Its tasks are on the runtime that polls this.
    pub fn add<F>(&mut self, name: &'static str, close: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Handle::try_current().ok();
        self.parts.push(Part { name, close: Box::new(move || Box::pin(close())), runtime });
    }

    /// Registers a task; it is stopped, and its end awaited.
    pub fn add_task(&mut self, task: Task) {
        let name = task.name();
        self.add(name, move || async move {
            if let Err(error) = task.end().await {
                tracing::error!(task = name, %error, "a task ended in a panic");
            }
        });
    }

    /// Spawns a task that may be dropped at each of its awaits, and registers it.
    pub fn spawn<F>(&mut self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.add_task(Task::spawn(name, future));
    }

    /// Closes one part after the other. A part that takes longer than `time_max` is named in the log and left, and so are
    /// the parts on a runtime whose thread is held up: no stop waits for a computation.
    pub async fn drain(mut self, time_max: Duration) {
        let mut held = None;
        while let Some(Part { name, close, runtime }) = self.parts.pop() {
            let on = runtime.as_ref().map(Handle::id);
            let time_max = if held.is_some() && held == on { Duration::ZERO } else { time_max };
            tokio::select! {
                closed = tokio::time::timeout(time_max, close()) => if closed.is_err() {
                    tracing::error!(task = name, "it did not end in time; the shutdown continues without it");
                },
                () = held_up(runtime.as_ref()) => {
                    held = on;
                    tracing::error!(task = name, "its thread is held up; the shutdown continues without it");
                }
            }
        }
    }
}

/// Returns once the runtime has polled no new task for `HELD_UP_TIME_MAX`.
async fn held_up(runtime: Option<&Handle>) {
    let Some(runtime) = runtime else { return std::future::pending().await };
    while tokio::time::timeout(HELD_UP_TIME_MAX, runtime.spawn(async {})).await.is_ok() {
        tokio::time::sleep(HELD_UP_TIME_MAX).await;
    }
}

impl std::fmt::Debug for TaskSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.parts.iter().map(|part| part.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_that_was_added_is_closed_first_and_a_stuck_one_is_left() {
        let closed = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = TaskSet::default();
        for name in ["store", "journal", "stuck", "listener"] {
            let closed = Arc::clone(&closed);
            tasks.add(name, move || async move {
                if name == "stuck" {
                    std::future::pending::<()>().await;
                }
                closed.lock().unwrap().push(name);
            });
        }
        assert_eq!(format!("{tasks:?}"), r#"["store", "journal", "stuck", "listener"]"#);
        tasks.drain(Duration::from_secs(5)).await;
        assert_eq!(*closed.lock().unwrap(), ["listener", "journal", "store"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_on_a_thread_that_is_held_up_is_left_and_the_rest_is_closed() {
        let runtime = crate::runtime("held").unwrap();
        let (closed, mut is_closed) = tokio::sync::oneshot::channel();
        let mut tasks = TaskSet::default();
        tasks.add("store", || async move {
            let minute = tokio::time::timeout(Duration::from_secs(60), std::future::pending::<()>());
            minute.await.unwrap_err();
            closed.send(()).unwrap();
        });
        crate::on(runtime.handle(), async {
            for name in ["reads", "polls", "sweeps"] {
                tasks.spawn(name, std::future::pending());
            }
        })
        .await;
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let holding = runtime.spawn(async move {
            begun.send(()).unwrap();
            wait.recv()
        });
        has_begun.await.unwrap();
        let started = tokio::time::Instant::now();
        tasks.drain(Duration::from_secs(600)).await;
        is_closed.try_recv().unwrap();
        assert!(started.elapsed() < Duration::from_secs(120), "{:?}, of virtual time", started.elapsed());
        assert!(!holding.is_finished());
        drop(end);
        runtime.shutdown_background();
    }

    #[tokio::test]
    async fn a_task_that_never_ends_is_stopped() {
        let mut tasks = TaskSet::default();
        tasks.spawn("waits", std::future::pending());
        tasks.drain(Duration::from_secs(60)).await;
    }
}

//! What a process closes at its end, in order.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::Task;

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
}

impl TaskSet {
    /// Registers a part and how it is closed.
    pub fn add<F>(&mut self, name: &'static str, close: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.parts.push(Part { name, close: Box::new(move || Box::pin(close())) });
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

    /// Closes one part after the other. A part that takes longer than `time_max` is named in the log and left.
    pub async fn drain(mut self, time_max: Duration) {
        while let Some(part) = self.parts.pop() {
            if tokio::time::timeout(time_max, (part.close)()).await.is_err() {
                tracing::error!(
                    task = part.name,
                    "it did not end in time; the shutdown continues without it"
                );
            }
        }
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

    #[tokio::test]
    async fn a_task_that_never_ends_is_stopped() {
        let mut tasks = TaskSet::default();
        tasks.spawn("waits", std::future::pending());
        tasks.drain(Duration::from_secs(60)).await;
    }
}

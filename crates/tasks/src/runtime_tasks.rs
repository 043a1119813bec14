//! Tasks on one runtime, started from the threads of others.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::Writes;

/// The tasks that an owner has on its runtime, whichever thread starts them. Each runs to its end though its
/// caller may leave; the owner waits for them at its own end.
#[derive(Debug, Clone)]
pub struct RuntimeTasks {
    name: &'static str,
    runtime: Handle,
    running: Writes,
}

impl RuntimeTasks {
    /// Tasks on the current runtime.
    pub fn on_this_runtime(name: &'static str) -> Self {
        Self::new(name, Handle::current())
    }

    pub fn new(name: &'static str, runtime: Handle) -> Self {
        Self { name, runtime, running: Writes::default() }
    }

    /// Runs one to its end. Awaiting the handle gives its result; dropping it leaves the task alone.
    pub fn run<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.spawn(self.running.counted(work))
    }

    /// Returns when none is running, or after `time_max`: the rest is dropped with the runtime.
    pub async fn finish(&self, time_max: Duration) {
        if tokio::time::timeout(time_max, self.running.finish()).await.is_err() {
            let (task, running) = (self.name, self.running.count());
            tracing::warn!(task, running, "not finished before the stop");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_task_of_another_thread_runs_on_the_owner_s_runtime_and_its_end_is_awaited() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let tasks = RuntimeTasks::new("writes", runtime.handle().clone());
        let (go, wait) = oneshot::channel::<()>();
        let (end, mut ended) = oneshot::channel();
        drop(tasks.run(async move {
            let _ = wait.await;
            let _ = end.send(Handle::current().id());
        }));
        go.send(()).unwrap();
        runtime.block_on(tasks.finish(Duration::from_secs(60)));
        assert_eq!(ended.try_recv().unwrap(), runtime.handle().id());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_ends_holds_its_owner_up_for_as_long_as_it_may() {
        let tasks = RuntimeTasks::on_this_runtime("stuck");
        let stuck = tasks.run(std::future::pending::<()>());
        let started = Instant::now();
        tasks.finish(Duration::from_secs(600)).await;
        assert!(!stuck.is_finished());
        assert!(started.elapsed() < Duration::from_secs(60), "the time is virtual");
    }
}

//! A task that its owner holds for as long as it is to run.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinHandle};

/// A running task. Dropping it stops it.
#[derive(Debug)]
#[must_use = "a task stops when it is dropped"]
pub struct Task {
    name: &'static str,
    stop: Stop,
    abort: AbortHandle,
    /// Taken by whoever waits for the end.
    handle: Mutex<Option<JoinHandle<()>>>,
}

/// How a task is stopped.
#[derive(Debug)]
enum Stop {
    /// It can be dropped at each of its awaits.
    Abort,
    /// It reads this, and ends when it has finished what it began.
    Signal(watch::Sender<bool>),
    /// It ends when the channel that it reads from is closed, which is its owner's part.
    Channel,
}

impl Task {
    /// A task that may be dropped at each of its awaits.
    pub fn spawn<F>(name: &'static str, future: F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::new(name, Stop::Abort, tokio::spawn(future))
    }

    /// Like `spawn`, on the current `LocalSet`.
    pub fn spawn_local<F>(name: &'static str, future: F) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        Self::new(name, Stop::Abort, tokio::task::spawn_local(future))
    }

    /// A task that ends by itself soon after the signal turns `true` or its sender is gone.
    pub fn spawn_until_signal<F>(name: &'static str, work: impl FnOnce(watch::Receiver<bool>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        Self::new(name, Stop::Signal(stop), tokio::spawn(work(stopped)))
    }

    /// A task that ends by itself when the channel that it reads from is closed.
    pub fn spawn_reader<F>(name: &'static str, future: F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::new(name, Stop::Channel, tokio::spawn(future))
    }

    fn new(name: &'static str, stop: Stop, handle: JoinHandle<()>) -> Self {
        Self { name, stop, abort: handle.abort_handle(), handle: Mutex::new(Some(handle)) }
    }

    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it has ended, also by a panic.
    pub fn is_finished(&self) -> bool {
        self.abort.is_finished()
    }

    /// Stops it, without waiting for its end.
    pub fn stop(&self) {
        match &self.stop {
            Stop::Abort => self.abort.abort(),
            Stop::Signal(stop) => _ = stop.send_replace(true),
            Stop::Channel => {}
        }
    }

    /// Drops it at its next await, however it is stopped otherwise.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// Returns when it has ended by itself; at once for a second caller.
    ///
    /// # Errors
    /// It panicked.
    pub async fn ended(&self) -> Result<(), JoinError> {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(handle) = handle else { return Ok(()) };
        match handle.await {
            Err(error) if error.is_panic() => Err(error),
            _ => Ok(()),
        }
    }

    /// Stops it and returns when it has ended.
    ///
    /// # Errors
    /// It panicked.
    pub async fn end(&self) -> Result<(), JoinError> {
        self.stop();
        self.ended().await
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    /// Waits until a witness is dropped.
    async fn until(gone: &AtomicBool) {
        let dropped = async {
            while !gone.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), dropped).await.expect("the task ends");
    }

    /// Sets its flag when it is dropped.
    struct Witness(Arc<AtomicBool>);

    impl Drop for Witness {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn witness() -> (Arc<AtomicBool>, Witness) {
        let gone = Arc::<AtomicBool>::default();
        (Arc::clone(&gone), Witness(gone))
    }

    #[tokio::test]
    async fn a_dropped_task_is_aborted() {
        let (gone, witness) = witness();
        let task = Task::spawn("waits", async move {
            let _witness = witness;
            std::future::pending::<()>().await;
        });
        drop(task);
        until(&gone).await;
    }

    #[tokio::test]
    async fn a_signalled_task_finishes_what_it_began() {
        let (gone, witness) = witness();
        let task = Task::spawn_until_signal("writes", |mut stopped| async move {
            let _ = stopped.changed().await;
            tokio::task::yield_now().await;
            drop(witness);
        });
        assert!(!gone.load(Ordering::SeqCst));
        task.end().await.unwrap();
        assert!(gone.load(Ordering::SeqCst));
        assert!(task.end().await.is_ok(), "a second caller does not wait");
    }

    #[tokio::test]
    async fn a_reader_outlives_its_handle_until_its_channel_closes() {
        let (sender, mut receiver) = mpsc::channel::<u8>(1);
        let (gone, witness) = witness();
        drop(Task::spawn_reader("reads", async move {
            let _witness = witness;
            while receiver.recv().await.is_some() {}
        }));
        sender.send(1).await.unwrap();
        sender.send(2).await.unwrap();
        assert!(!gone.load(Ordering::SeqCst));
        drop(sender);
        until(&gone).await;
    }

    #[tokio::test]
    async fn a_panic_is_reported_to_whoever_waits() {
        let task = Task::spawn("breaks", async { panic!("a panic that is meant") });
        assert!(task.ended().await.unwrap_err().is_panic());
    }
}

//! Writes that are finished even where whoever began them leaves.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// The writes that one owner has begun, counted so that it can wait for them at its end.
#[derive(Debug, Clone, Default)]
pub struct Writes(Arc<Running>);

#[derive(Debug, Default)]
struct Running {
    count: AtomicUsize,
    done: Notify,
    /// Where they run; without it, where they are begun.
    home: OnceLock<Handle>,
}

/// Counts a write for as long as it runs.
struct Counted(Arc<Running>);

impl Counted {
    fn new(running: &Arc<Running>) -> Self {
        running.count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(running))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.done.notify_waiters();
        }
    }
}

impl Writes {
    /// Runs one to its end. Awaiting the handle gives its result; dropping it leaves the write alone.
    pub fn run<F>(&self, write: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self.0.home.get() {
            Some(home) => home.spawn(self.counted(write)),
            None => tokio::spawn(self.counted(write)),
        }
    }

    /// From now on they run on this runtime, whoever begins one: computations elsewhere can't keep one from ending.
    pub fn stay_here(&self) {
        // The first place is kept.
        let _ = self.0.home.set(Handle::current());
    }

    /// The future, counted from now until it ends or is dropped.
    pub(crate) fn counted<F: Future>(&self, write: F) -> impl Future<Output = F::Output> + use<F> {
        let counted = Counted::new(&self.0);
        async move {
            let _counted = counted;
            write.await
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// Returns when none is running.
    pub async fn finish(&self) {
        while self.0.count.load(Ordering::Acquire) > 0 {
            let mut done = std::pin::pin!(self.0.done.notified());
            done.as_mut().enable();
            // The last one may have ended before the wait started.
            if self.0.count.load(Ordering::Acquire) > 0 {
                done.await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_write_ends_though_the_runtime_of_whoever_began_it_is_held_up() {
        let (home, held) = (crate::runtime("home").unwrap(), crate::runtime("held").unwrap());
        let writes = Writes::default();
        home.block_on(async { writes.stay_here() });
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let holding = held.spawn(async move {
            begun.send(writes.run(async { 7 })).unwrap();
            wait.recv().unwrap();
        });
        let written = home.block_on(has_begun).unwrap();
        assert_eq!(home.block_on(written).unwrap(), 7);
        end.send(()).unwrap();
        held.block_on(holding).unwrap();
    }

    #[tokio::test]
    async fn the_end_waits_for_every_write_though_nobody_holds_one() {
        let writes = Writes::default();
        writes.finish().await;
        let (go, wait) = oneshot::channel::<()>();
        let (end, mut ended) = oneshot::channel();
        drop(writes.run(async move {
            let _ = wait.await;
            let _ = end.send(());
        }));
        let mut finish = Box::pin(writes.finish());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(finish.as_mut().poll(&mut cx).is_pending());
        go.send(()).unwrap();
        finish.await;
        assert!(ended.try_recv().is_ok());
        assert_eq!(writes.run(async { 7 }).await.unwrap(), 7);
    }
}

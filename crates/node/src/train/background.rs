//! Runs long work on a thread of its own and awaits it, so that other requests do not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::{Fault, FaultClass};
use tasks::Thread;
use tokio::sync::oneshot;

use crate::limits::BLOCKING_TASKS_MAX;

const FULL_WAIT_MS: u64 = 1_000;

/// The number of running tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct BlockingTasks(Arc<AtomicUsize>);

/// One slot, while it is held.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl BlockingTasks {
    fn acquire_slot(&self) -> Result<Slot, Box<Fault>> {
        let slot = Slot(Arc::clone(&self.0));
        if self.0.fetch_add(1, Ordering::SeqCst) < BLOCKING_TASKS_MAX {
            return Ok(slot);
        }
        let message = "This node already reads as many data sets as it can simultaneously.";
        let fault = Fault::new(FaultClass::Limited, "too_many_at_once", message);
        Err(Box::new(fault.fix("Send it again in a moment.").retry_after_ms(FULL_WAIT_MS)))
    }

    /// # Errors
    /// All slots are taken, or the work panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Box<Fault>> {
        self.run_while(|_| work()).await
    }

    /// The same, for work that polls now and then whether its caller still waits.
    ///
    /// # Errors
    /// All slots are taken, or the work panicked.
    pub(super) async fn run_while<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
    ) -> Result<T, Box<Fault>> {
        let slot = self.acquire_slot()?;
        let (sender, receiver) = oneshot::channel();
        let run = move || {
            // Also on a panic, the slot is freed before the caller learns that the work ended.
            let (sender, slot) = (sender, slot);
            let done = work(&|| !sender.is_closed());
            drop(slot);
            // The caller may have gone.
            let _ = sender.send(done);
        };
        let started = Thread::spawn("training-reader", run);
        started.map_err(|_| Box::new(Fault::internal()))?;
        receiver.await.map_err(|_| Box::new(Fault::internal()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::worker::block_on;
    use super::*;

    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    #[test]
    fn so_much_is_done_at_once_and_what_breaks_off_leaves_its_place() {
        let aside = BlockingTasks::default();
        let (go, wait) = channel::<()>();
        let slots: Vec<_> = (1..BLOCKING_TASKS_MAX).map(|_| aside.acquire_slot().unwrap()).collect();
        let held = std::thread::spawn({
            let aside = aside.clone();
            move || block_on(aside.run(move || wait.recv().is_err()))
        });
        eventually("the last slot is taken", || aside.0.load(Ordering::SeqCst) == BLOCKING_TASKS_MAX);
        assert_eq!(block_on(aside.run(|| 1)).unwrap_err().code, "too_many_at_once");
        drop(go);
        assert!(held.join().unwrap().unwrap());
        assert_eq!(block_on(aside.run(|| 7)).unwrap(), 7);
        let broken = block_on(aside.run(|| -> u32 { panic!("a panic that is meant") }));
        assert_eq!(broken.unwrap_err().code, "internal_error");
        // A caller that goes away is noticed by the work, which ends.
        let (started, has_started) = channel();
        let mut left = Box::pin(aside.run_while(move |is_wanted| {
            started.send(()).unwrap();
            while is_wanted() {
                std::thread::yield_now();
            }
        }));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(left.as_mut().poll(&mut cx).is_pending());
        has_started.recv().unwrap();
        drop(left);
        drop(slots);
        eventually("all slots are free", || aside.0.load(Ordering::SeqCst) == 0);
    }

    fn eventually(what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }
}
